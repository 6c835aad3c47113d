// Process groups and sessions as objects: who is in which.
#include "kernel/process/process_group.h"

#include "kernel/process/pid.h"
#include "vm/phys/pool.h"

sleep_lock group_lock{lock_rank::groups, "groups"};

namespace {

constinit pool<session> sessions{"session"};
constinit pool<process_group> groups{"process_group"};

constexpr unsigned buckets = 64;
list<process_group, &process_group::in_table> group_table[buckets] GUARDED_BY(process_tree_lock);

auto& bucket_of(pid_t id) REQUIRES(process_tree_lock) {
    return group_table[unsigned(id) % buckets];
}

} // namespace

session::~session() { ASSERT(!terminal && groups == 0); }

void session::last_reference_gone() { sessions.destroy(this); }

process_group::~process_group() { ASSERT(members.empty() && ties == 0 && stopped == 0); }

void process_group::last_reference_gone() { groups.destroy(this); }

expected<ref_ptr<process_group>> group_create(pid_t id, ref_ptr<session> of) {
    process_group* group = groups.create(id, std::move(of));
    if (!group)
        return fail(Errno::nomem);
    return ref_ptr<process_group>::adopt(group);
}

expected<ref_ptr<process_group>> session_create(pid_t sid) {
    auto s = ref_ptr<session>::adopt(sessions.create(sid));
    if (!s)
        return fail(Errno::nomem);
    return group_create(sid, std::move(s));
}

process_group* group_find(pid_t id) {
    for (process_group& group : bucket_of(id))
        if (group.id == id)
            return &group;
    return nullptr;
}

ref_ptr<process_group> group_get(pid_t id) {
    lock_guard tree(process_tree_lock);
    return ref_ptr(group_find(id));
}

ref_ptr<process_group> group_next(pid_t from) {
    lock_guard tree(process_tree_lock);
    for (pid_t id = from; (id = pid_next_kept(id)) < pid_max; id++)
        if (process_group* group = group_find(id))
            return ref_ptr(group);
    return nullptr;
}

void group_enter(group_membership& p, group_membership& maker, process_state state) {
    process_group& group = *p.group;
    if (group.members.empty()) {
        bucket_of(group.id).push_back(group);
        group.sess->groups++;
        pid_keep(group.id, true);
        pid_keep(group.sess->sid, true);
    }
    if (&maker != &p && maker.group == p.group) {
        group.members.insert_after(maker, p);
        p.walk = maker.walk;
    } else {
        group.members.push_back(p);
    }
    group.stopped += state == process_state::stopped;
}

void group_leave(group_membership& p, process_state state) {
    process_group& group = *p.group;
    group.members.remove(p);
    group.ties -= std::exchange(p.ties, false);
    group.stopped -= state == process_state::stopped;
    if (!group.members.empty())
        return;
    bucket_of(group.id).remove(group);
    const bool last = --group.sess->groups == 0;
    if (last || group.id != group.sess->sid)
        pid_keep(group.id, false);
    if (last)
        pid_keep(group.sess->sid, false);
}

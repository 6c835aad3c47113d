// Process groups and sessions as objects: who is in which, and what ties a group to its session.
#include "kernel/process/process_group.h"

#include "vm/phys/pool.h"

sleep_lock group_lock{lock_rank::groups, "groups"};
constinit uint64_t group_walks = 0;

namespace {

constinit pool<session> sessions{"session"};
constinit pool<process_group> groups{"process_group"};

constexpr unsigned buckets = 64;
list<process_group, &process_group::in_table> group_table[buckets] GUARDED_BY(process_tree_lock);

auto& bucket_of(pid_t id) REQUIRES(process_tree_lock) {
    return group_table[unsigned(id) % buckets];
}

// Whether `p` could be continued by a parent in another group of its session.
bool is_tie(const process& p) REQUIRES(process_tree_lock) {
    const process* parent = p.parent;
    return p.live_threads != 0 && parent && parent != init_process && parent->group &&
           parent->group != p.group && parent->group->sess == p.group->sess;
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

pid_t current_group() {
    lock_guard tree(process_tree_lock);
    return current_process().group->id;
}

ref_ptr<process_group> group_next(pid_t from) {
    lock_guard tree(process_tree_lock);
    for (pid_t id = from; (id = pid_next_kept(id)) < pid_max; id++)
        if (process_group* group = group_find(id))
            return ref_ptr(group);
    return nullptr;
}

void group_enter(process& p, process& maker) {
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
    group.stopped += p.state == process_state::stopped;
}

void group_leave(process& p) {
    process_group& group = *p.group;
    group.members.remove(p);
    group.ties -= std::exchange(p.ties, false);
    group.stopped -= p.state == process_state::stopped;
    if (!group.members.empty())
        return;
    bucket_of(group.id).remove(group);
    const bool last = --group.sess->groups == 0;
    if (last || group.id != group.sess->sid)
        pid_keep(group.id, false);
    if (last)
        pid_keep(group.sess->sid, false);
}

bool group_retie(process& p) {
    const bool before = std::exchange(p.ties, is_tie(p));
    process_group& group = *p.group;
    group.ties += p.ties - before;
    return before && group.ties == 0 && group.stopped != 0;
}

// Process groups and sessions, and when a group is orphaned (POSIX.1-2017, 3.264).
#include "kernel/signal/session.h"

#include "kernel/abi/syscalls.h"
#include "kernel/signal/signal.h"

#include <algorithm>

namespace {

bool has_stopped_member(pid_t group, const process* leaving) REQUIRES(process_tree_lock) {
    for (process* p = init_process; p; p = process_tree_next(*p))
        if (p->group == group && p != leaving && p->state == process_state::stopped)
            return true;
    return false;
}

// `group` may have lost its last tie to its session, or loses it as `leaving` ends (null: nobody
// does): if so and the group has stopped jobs, they get a chance to end.
void orphan(pid_t group, const process* leaving) REQUIRES(process_tree_lock) {
    if (!has_stopped_member(group, leaving) || !group_orphaned(group, leaving))
        return;
    signal_send_group(group, SIGHUP_, nullptr);
    signal_send_group(group, SIGCONT_, nullptr);
}

// The process with `pid` for getpgid and getsid; 0 is the caller.
expected<ref_ptr<process>> find_or_self(pid_t pid) {
    ref_ptr<process> p = pid == 0 ? ref_ptr<process>(&current_process()) : process_find(pid);
    if (!p)
        return fail(Errno::srch);
    return p;
}

} // namespace

process* process_tree_next(process& p, const process* root) {
    if (process* child = p.children.front())
        return child;
    for (process* at = &p; at != root && at->parent; at = at->parent)
        if (process* sibling = at->parent->children.next(*at))
            return sibling;
    return nullptr;
}

bool group_exists(pid_t group, const session* of) {
    if (group < 0 || group >= pid_max || !group_has_members(group))
        return false;
    for (process* p = init_process; p; p = process_tree_next(*p))
        if (p->group == group && (!of || p->sess.get() == of))
            return true;
    return false;
}

bool group_orphaned(pid_t group, const process* leaving) {
    for (process* p = init_process; p; p = process_tree_next(*p)) {
        if (p->group != group || p == leaving || p->state == process_state::zombie)
            continue;
        const process* parent = p->parent == leaving ? init_process : p->parent;
        if (parent && parent != init_process && parent->group != group && parent->sess == p->sess)
            return false;
    }
    return true;
}

void session_process_exiting(process& p) {
    ref_ptr<session> s;
    {
        lock_guard tree(process_tree_lock);
        s = p.sess;
    }
    if (s && s->sid == p.pid)
        tty_session_ends(*s);

    lock_guard tree(process_tree_lock);
    // Only a process whose parent is in another group of the session tied its own group to it.
    if (p.parent && p.parent->group != p.group && p.parent->sess == p.sess)
        orphan(p.group, &p);
}

bool session_child_left(const process& child, const process& by) {
    if (child.group == by.group || child.sess != by.sess)
        return false;
    orphan(child.group, nullptr);
    return true;
}

sysresult sys_setpgid(sys_pid pid, sys_pid group) {
    if (pid < 0 || group < 0)
        return fail(Errno::inval);
    process& self = current_process();
    ref_ptr<process> target = TRY(find_or_self(pid));
    const pid_t wanted = group == 0 ? target->pid : pid_t(group);

    lock_guard tree(process_tree_lock);
    if (target->state == process_state::zombie && target.get() != &self && target->parent != &self)
        return fail(Errno::srch);
    if (target->parent == &self) {
        if (target->sess != self.sess)
            return fail(Errno::perm);
        if (target->executed)
            return fail(Errno::acces);
    } else if (target.get() != &self) {
        return fail(Errno::srch);
    }
    if (target->sess->sid == target->pid)
        return fail(Errno::perm); // a session's leader leads its group too
    if (wanted != target->pid && !group_exists(wanted, target->sess.get()))
        return fail(Errno::perm);
    process_regroup(*target, wanted);
    return 0;
}

sysresult sys_getpgrp() { return current_process().group; }

sysresult sys_getpgid(sys_pid pid) {
    ref_ptr<process> p = TRY(find_or_self(pid));
    lock_guard tree(process_tree_lock);
    return p->group;
}

sysresult sys_getsid(sys_pid pid) {
    ref_ptr<process> p = TRY(find_or_self(pid));
    lock_guard tree(process_tree_lock);
    if (!p->sess)
        return fail(Errno::srch);
    return p->sess->sid;
}

sysresult sys_setsid() {
    process& self = current_process();
    ref_ptr<session> fresh = TRY(session_create(self.pid)); // then the old one
    lock_guard tree(process_tree_lock);
    if (self.group == self.pid || group_exists(self.pid, nullptr))
        return fail(Errno::perm);
    process_regroup(self, self.pid, &fresh);
    return self.pid;
}

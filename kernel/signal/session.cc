// Job control: the calls on process groups and sessions, and what happens to an orphaned group.
#include "kernel/signal/session.h"

#include "kernel/abi/syscalls.h"
#include "kernel/signal/signal.h"

#include <algorithm>

using namespace linux_abi;

namespace {

// `p` goes into another group, and with that, in one step for whoever ends, its children tie or do
// not tie theirs. Nobody is told if the old group is orphaned by it, as on Linux.
void move_to(process& p, ref_ptr<process_group> to) REQUIRES(group_lock, process_tree_lock) {
    const ref_ptr<process_group> from = p.group; // it may have no other member
    group_leave(p, p.state);
    p.group = std::move(to);
    group_enter(p, p, p.state);
    (void)group_retie(p);
    for (process& child : p.children)
        (void)group_retie(child);
}

// The process with `pid` for getpgid and getsid; 0 is the caller.
expected<ref_ptr<process>> find_or_self(pid_t pid) {
    ref_ptr<process> p = pid == 0 ? ref_ptr<process>(&current_process()) : process_find(pid);
    if (!p)
        return fail(Errno::srch);
    return p;
}

ref_ptr<session> session_of(process& p) {
    lock_guard tree(process_tree_lock);
    return p.group->sess;
}

} // namespace

void session_process_exiting(process& p) {
    ref_ptr<session> led;
    bool orphaned;
    pid_t group;
    {
        lock_guard tree(process_tree_lock);
        if (p.group->sess->sid == p.pid)
            led = p.group->sess;
        orphaned = group_retie(p);
        group = p.group->id;
    }
    if (led)
        tty_session_ends(*led);
    if (orphaned)
        group_hang_up(group);
}

void group_hang_up(pid_t id) {
    signal_send_group(id, sighup, nullptr);
    signal_send_group(id, sigcont, nullptr);
}

sysresult sys_setpgid(sys_pid pid, sys_pid group) {
    if (pid < 0 || group < 0)
        return fail(Errno::inval);
    process& self = current_process();
    ref_ptr<process> target = TRY(find_or_self(pid));
    const pid_t wanted = group == 0 ? target->pid : pid_t(group);

    lock_guard moving(group_lock);
    ref_ptr<process_group> to = group_get(wanted);
    if (!to && wanted == target->pid)
        to = TRY(group_create(wanted, session_of(*target)));
    lock_guard tree(process_tree_lock);
    if (target->state == process_state::zombie && target.get() != &self && target->parent != &self)
        return fail(Errno::srch);
    if (target->parent == &self) {
        if (target->group->sess != self.group->sess)
            return fail(Errno::perm);
        if (target->executed)
            return fail(Errno::acces);
    } else if (target.get() != &self) {
        return fail(Errno::srch);
    }
    if (target->group->sess->sid == target->pid)
        return fail(Errno::perm); // a session's leader leads its group too
    if (!to || to->sess != target->group->sess)
        return fail(Errno::perm);
    if (to != target->group)
        move_to(*target, std::move(to));
    return 0;
}

sysresult sys_getpgrp() { return current_group(); }

sysresult sys_getpgid(sys_pid pid) {
    ref_ptr<process> p = TRY(find_or_self(pid));
    lock_guard tree(process_tree_lock);
    return p->group->id;
}

sysresult sys_getsid(sys_pid pid) {
    ref_ptr<process> p = TRY(find_or_self(pid));
    lock_guard tree(process_tree_lock);
    return p->group->sess->sid;
}

sysresult sys_setsid() {
    process& self = current_process();
    ref_ptr<process_group> fresh = TRY(session_create(self.pid));
    lock_guard moving(group_lock);
    lock_guard tree(process_tree_lock);
    if (group_find(self.pid)) // which it may lead
        return fail(Errno::perm);
    move_to(self, std::move(fresh));
    return self.pid;
}

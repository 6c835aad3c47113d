// Whose terminal it is: the session that it controls, the process group in the foreground, and
// hanging up.
#include "kernel/base/user_ptr.h"
#include "kernel/signal/session.h"
#include "kernel/signal/signal.h"
#include "kernel/tty/tty.h"

using namespace linux_abi;

status tty::acquire(bool may_read, bool steal) {
    lock_guard tree(process_tree_lock);
    process& self = current_process();
    session& its = *self.group->sess;
    if (its.sid != self.pid || (its.terminal && its.terminal != this))
        return fail(Errno::perm);
    if (its.terminal == this)
        return {};
    if (!may_read || (session_ && !steal))
        return fail(Errno::perm);
    {
        lock_guard guard(files_lock_);
        if (gone_)
            return fail(Errno::io);
    }
    if (session_)
        session_->terminal = nullptr;
    session_ = &its;
    its.terminal = this;
    foreground_ = self.group->id;
    return {};
}

status tty::check_foreground(int signo) {
    pid_t group;
    bool orphaned;
    {
        lock_guard tree(process_tree_lock);
        const process_group& its = *current_process().group;
        if (its.sess->terminal != this || foreground_ == 0 || foreground_ == its.id)
            return {};
        group = its.id;
        orphaned = its.ties == 0;
    }
    // Output from the background is harmless to a program that does not want to hear of it; input
    // would be taken away from the foreground.
    if (signal_blocked_or_ignored(current_thread(), signo))
        return signo == sigttin ? status(fail(Errno::io)) : status();
    if (orphaned)
        return fail(Errno::io);
    signal_send_group(group, signo, nullptr);
    return fail(Errno::restartsys);
}

void tty::hang_up(pid_t sid) {
    {
        lock_guard guard(files_lock_);
        for (tty_file& f : files_)
            if (f.session_ == sid)
                f.hung_up_ = true;
    }
    effects all{.readers = true, .writers = true, .pollers = true};
    settle(all);
}

void tty::hang_up_for_good() {
    {
        lock_guard guard(files_lock_);
        gone_ = true;
        for (tty_file& f : files_)
            f.hung_up_ = true;
    }
    ref_ptr<process> leader;
    {
        lock_guard tree(process_tree_lock);
        if (session_) {
            leader = ref_ptr<process>(process_lookup(session_->sid));
            session_->left_behind = foreground_.exchange(0);
            session_->terminal = nullptr;
            session_ = nullptr;
        }
    }
    if (leader) {
        signal_send_process(*leader, sighup, nullptr);
        signal_send_process(*leader, sigcont, nullptr);
    }
    effects all{.readers = true, .writers = true, .pollers = true};
    settle(all);
}

// The group with this number if it is of this session.
static pid_t group_of(session& s, pid_t id) REQUIRES(process_tree_lock) {
    const process_group* group = id ? group_find(id) : nullptr;
    return group && group->sess.get() == &s ? id : 0;
}

void tty_session_ends(session& s) {
    ref_ptr<tty> terminal;
    pid_t foreground = 0;
    {
        lock_guard tree(process_tree_lock);
        terminal = ref_ptr<tty>(s.terminal);
        s.terminal = nullptr;
        if (terminal) {
            terminal->session_ = nullptr;
            foreground = terminal->foreground_.exchange(0);
        } else {
            foreground = group_of(s, std::exchange(s.left_behind, 0));
        }
    }
    const bool for_all = terminal && terminal->hangs_up_with_session();
    if (!terminal || for_all)
        group_hang_up(foreground);
    else
        signal_send_group(foreground, sighup, nullptr);
    if (for_all)
        terminal->hang_up(s.sid);
}

tty_facts tty_of(process& p) {
    lock_guard tree(process_tree_lock);
    const tty* terminal = p.group->sess->terminal;
    if (!terminal)
        return {0, -1};
    return {terminal->device(), terminal->foreground_.load()};
}

// TIOCNOTTY: only the leader gives the terminal up, for the whole session, and as if it had ended
// but for the hang-up of descriptions. The terminal is the session's here, so that a single process
// cannot leave it: EPERM.
status tty::release_by_process() {
    pid_t foreground;
    {
        lock_guard tree(process_tree_lock);
        process& self = current_process();
        session& its = *self.group->sess;
        if (its.terminal != this)
            return fail(Errno::notty);
        if (its.sid != self.pid)
            return fail(Errno::perm);
        its.terminal = nullptr;
        session_ = nullptr;
        foreground = foreground_.exchange(0);
    }
    group_hang_up(foreground);
    return {};
}

expected<int64_t> tty::get_group(uint64_t argument) {
    int32_t group;
    {
        lock_guard tree(process_tree_lock);
        if (current_process().group->sess->terminal != this)
            return fail(Errno::notty);
        group = foreground_;
    }
    TRY(user_ptr<int32_t>(argument).write(group));
    return 0;
}

status tty::set_group(uint64_t argument) {
    TRY(check_foreground(sigttou));
    const int32_t group = TRY(user_ptr<const int32_t>(argument).read());
    if (group < 0)
        return fail(Errno::inval);
    lock_guard tree(process_tree_lock);
    const session& its = *current_process().group->sess;
    if (its.terminal != this)
        return fail(Errno::notty);
    const process_group* wanted = group_find(group);
    if (!wanted)
        return fail(Errno::srch);
    if (wanted->sess.get() != &its)
        return fail(Errno::perm);
    foreground_ = group;
    return {};
}

status tty::get_session(uint64_t argument) {
    pid_t sid;
    {
        lock_guard tree(process_tree_lock);
        const session& its = *current_process().group->sess;
        if (its.terminal != this)
            return fail(Errno::notty);
        sid = its.sid;
    }
    return user_ptr<int32_t>(argument).write(sid);
}

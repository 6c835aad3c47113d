// Sending signals, and what is pending for whom.
//
//            kill, a timer, a child          tgkill, a fault
//                     |                            |
//              process::pending             thread::pending        queues: a set, and infos in order
//                      \___________________________/
//                                   |  not blocked by the thread
//                          thread::signal_flags                    what sleepers and the way back to
//                                   |                              user mode look at, without a lock
//                            signal_deliver()                      kernel/signal/signal_deliver.cc
//
// All of it is under the lock of the target's sig_handlers (signal_guard). Choosing a thread needs
// the list of threads too, so that senders hold process_tree_lock as well, which is the outer one.
#include "kernel/signal/signal.h"

#include "kernel/process/group_walk.h"
#include "kernel/sched/sched.h"
#include "kernel/signal/child_signal.h"
#include "kernel/signal/signal_internal.h"
#include "lib/assert.h"
#include "lib/long_work.h"
#include "lib/string.h"
#include "vm/phys/event.h"
#include "vm/phys/pool.h"

#include <bit>

using namespace linux_abi;

namespace {

// The news of the parent, `code`: CLD_STOPPED or CLD_CONTINUED. Wakes wait4 and sends SIGCHLD as
// SA_NOCLDSTOP says.
void tell_parent(process& p, int32_t code) REQUIRES(process_tree_lock) {
    process_has_news(p);
    linux_siginfo info = child_siginfo(p);
    info.code = code;
    info.child.status = code == cld_stopped ? p.stop_signo : sigcont;
    if (!signal_parent_ignores_stops(*p.parent))
        signal_send_process_locked(*p.parent, sigchld, &info);
    p.parent->child_changed.wake_all();
}

bool default_terminates(int signo) {
    return !(sig_bit(signo) & (signals_that_stop | signals_ignored_by_default));
}

// Whether nobody would ever see the signal: a tracer sees all. A blocked one is kept: its action may have changed by
// the time it is let through.
bool is_ignored(const process& p, const thread& seen_by, int signo) REQUIRES(signal_lock) {
    if (seen_by.signals.traced && signo != sigkill)
        return false;
    if ((seen_by.signals.blocked | seen_by.signals.waited_for) & sig_bit(signo) &
        ~signals_unblockable)
        return false;
    uint64_t handler = p.handlers->action(signo).handler;
    if (handler == sig_dfl)
        return (sig_bit(signo) & signals_ignored_by_default) || signal_protected(p);
    return handler == sig_ign;
}

bool kills(const thread& t, int signo) REQUIRES(signal_lock) {
    const process& p = *t.proc;
    return p.handlers->action(signo).handler == sig_dfl && default_terminates(signo) &&
           !(t.signals.waited_for & sig_bit(signo)) && (!t.signals.traced || signo == sigkill) &&
           (!signal_protected(p) || (t.signals.forced & sig_bit(signo)));
}

bool is_gone(const thread& t) {
    return t.signals.flags.load(std::memory_order_relaxed) & signal_flag_gone;
}

bool wants(const thread& t, int signo) REQUIRES(signal_lock) {
    if (is_gone(t) || (t.proc->signals.exiting && t.proc->signals.survivor != &t &&
                       !(t.signals.traced & traced_in_exit)))
        return false;
    if (signo == sigkill)
        return true;
    return !((t.signals.blocked | t.signals.held) & sig_bit(signo)) && !t.proc->signals.stopping;
}

thread* first_thread(process& p) REQUIRES(process_tree_lock) {
    for (thread& t : p.threads)
        if (!is_gone(t))
            return &t;
    return nullptr;
}

// The thread that is to take a signal to the process: the first one has preference, as on Linux.
thread* choose_thread(process& p, int signo) REQUIRES(process_tree_lock, signal_lock) {
    for (thread& t : p.threads)
        if (wants(t, signo))
            return &t;
    return nullptr;
}

void resume(process& p) REQUIRES(process_tree_lock, signal_lock) {
    if (p.state == process_state::stopped)
        process_set_state(p, process_state::alive);
    p.signals.stopping = false;
    p.signals.to_park = 0;
    for (thread& t : p.threads) {
        t.signals.to_park = false;
        if (t.trace && t.trace->seized)
            signal_want_trap(*t.trace);
    }
    p.signals.parked.wake_all();
}

// SIGCONT undoes a stop even if it is blocked or ignored; SIGKILL ends it.
void change_stop_state(process& p, int signo) REQUIRES(process_tree_lock, signal_lock) {
    if (sig_bit(signo) & signals_that_stop) {
        signal_flush_all(p, sig_bit(sigcont));
    } else if (signo == sigcont || signo == sigkill) {
        if (signo == sigcont) {
            signal_flush_all(p, signals_that_stop);
            if (p.state == process_state::stopped)
                p.continue_reported = false;
        }
        p.signals.stop_taken = false;
        if (p.signals.stopping) {
            resume(p);
            for (thread& t : p.threads)
                signal_recompute_locked(t);
        }
    }
}

void wake_taker(process& p, thread* only, int signo) REQUIRES(process_tree_lock, signal_lock) {
    thread* taker = only ? (wants(*only, signo) ? only : nullptr) : choose_thread(p, signo);
    if (!taker)
        return;
    if (!kills(*taker, signo)) {
        signal_notice(*taker, signal_flag_pending);
        return;
    }
    // Whoever gets there first ends the process, also if the chosen thread cannot come (vfork).
    for (thread& t : p.threads)
        if (&t == taker || (!only && wants(t, signo)))
            signal_notice(t, signal_flag_pending | signal_flag_kill);
}

linux_siginfo kernel_info(int signo) {
    linux_siginfo info{};
    info.signo = signo;
    info.code = si_kernel;
    return info;
}

void made_pending(process& p, thread* only, signal_queue& queue, int signo)
    REQUIRES(process_tree_lock, signal_lock) {
    queue.set |= sig_bit(signo);
    wake_taker(p, only, signo);
    p.handlers->signal_readers.wake_all();
    p.handlers->signal_pollers.notify();
}

// An entry for one more signal to `p`. Null if there is no memory, or its user has all that he may
// have (but he always may, if so it is to be).
MAY_LOSE("the signal is pending all the same; a real-time one's sender is told")
pending_signal* create_entry(process& p, bool always) {
    uint32_t uid;
    uint64_t limit;
    {
        lock_guard guard(p.lock);
        uid = p.context->cred.uid;
        limit = always ? user_charge::no_limit : p.limits[rlimit_sigpending].current;
    }
    auto charge = user_charge::take(uid, user_resource::signals, 1, limit, Errno::again);
    pending_signal* entry = charge ? pending_signal::create() : nullptr;
    if (entry)
        entry->charge = std::move(*charge);
    return entry;
}

// EAGAIN when a queueing signal's info would be lost.
status send(process& p, thread* only, int signo, const linux_siginfo& info)
    REQUIRES(process_tree_lock, signal_lock) {
    ASSERT(signo >= 1 && signo <= signal_max);
    thread* seen_by = only ? only : first_thread(p);
    if (p.state == process_state::zombie || !seen_by || is_gone(*seen_by))
        return {};
    if (signo == sigkill)
        only = nullptr; // it is for all threads, whoever it was sent to
    change_stop_state(p, signo);
    if (is_ignored(p, *seen_by, signo))
        return {};

    signal_queue& queue = only ? only->signals.pending : p.signals.pending;
    if (signo < signal_first_real_time && (queue.set & sig_bit(signo)))
        return {};
    const bool always = info.code >= 0 && signo < signal_first_real_time;
    if (pending_signal* entry = create_entry(p, always)) {
        entry->info = info;
        queue.queued.push_back(*entry);
    } else if (signo >= signal_first_real_time && info.code != si_user) {
        return fail(Errno::again);
    }
    made_pending(p, only, queue, signo);
    EVENT(signal_sent, .to_pid = p.pid, .to_tid = only ? only->tid : 0, .signo = signo,
          .code = info.code);
    return {};
}

// After a signal was sent: the parent hears of SIGCONT from its sender.
void tell_if_continued(process& p, bool was_stopped) REQUIRES(process_tree_lock) {
    if (was_stopped && !p.continue_reported)
        tell_parent(p, cld_continued);
}

status send_info(process& p, thread* only, int signo, const linux_siginfo* info)
    REQUIRES(process_tree_lock) {
    if (!p.handlers)
        return {};
    const bool was_stopped = p.state == process_state::stopped;
    status sent;
    {
        signal_guard guard(*p.handlers);
        sent = send(p, only, signo, info ? *info : kernel_info(signo));
    }
    tell_if_continued(p, was_stopped);
    return sent;
}

void send_entry(process& p, thread* to_thread, pending_signal& entry)
    REQUIRES(process_tree_lock, signal_lock) {
    if (entry.on_queue.linked()) {
        posix_timer_signal_pending_yet(*entry.timer);
        return;
    }
    const int signo = entry.info.signo;
    thread* seen_by = to_thread ? to_thread : first_thread(p);
    if (p.state == process_state::zombie || !seen_by || is_gone(*seen_by))
        return;
    change_stop_state(p, signo);
    if (is_ignored(p, *seen_by, signo)) {
        posix_timer_signal_ignored(*entry.timer);
        return;
    }
    signal_queue& queue = to_thread ? to_thread->signals.pending : p.signals.pending;
    queue.queued.push_back(entry);
    made_pending(p, to_thread, queue, signo);
}

// Other threads may take what `p` has pending of `which`: the one that would have is not going to.
void retarget(process& p, const thread& not_to, sigset which)
    REQUIRES(process_tree_lock, signal_lock) {
    for (sigset rest = p.signals.pending.set & which; rest; rest &= rest - 1) {
        int signo = std::countr_zero(rest) + 1;
        for (thread& t : p.threads) {
            if (&t != &not_to && wants(t, signo)) {
                signal_notice(t, signal_flag_pending | (kills(t, signo) ? signal_flag_kill : 0u));
                break;
            }
        }
    }
}

} // namespace

void signal_take(process& p, signal_queue& queue, int signo, linux_siginfo& info) {
    info = {};
    info.signo = signo;
    pending_signal* taken = nullptr;
    bool more = false;
    for (pending_signal& entry : queue.queued) {
        if (entry.info.signo != signo)
            continue;
        if (taken) {
            more = true;
            break;
        }
        taken = &entry;
    }
    if (taken) {
        info = taken->info;
        queue.queued.remove(*taken);
        if (taken->timer)
            posix_timer_signal_taken(*taken->timer, info);
        else
            taken->drop();
    }
    if (!more)
        queue.set &= ~sig_bit(signo);
    if (signo == sigalrm && &queue == &p.signals.pending)
        itimer_signal_taken(p);
}

int signal_take_one_of(thread& self, sigset wanted, linux_siginfo& info) {
    process& p = *self.proc;
    for (signal_queue* queue : {&self.signals.pending, &p.signals.pending}) {
        if (sigset found = queue->set & wanted) {
            int signo = std::countr_zero(found) + 1;
            signal_take(p, *queue, signo, info);
            signal_recompute_locked(self);
            return signo;
        }
    }
    return 0;
}

void signal_flush(process& p, signal_queue& queue, sigset which) {
    if (!(queue.set & which))
        return;
    queue.set &= ~which;
    for (pending_signal* entry = queue.queued.front(); entry;) {
        pending_signal* next = queue.queued.next(*entry);
        if (sig_bit(entry->info.signo) & which) {
            queue.queued.remove(*entry);
            if (entry->timer)
                posix_timer_signal_taken(*entry->timer, entry->info);
            else
                entry->drop();
        }
        entry = next;
    }
}

void signal_flush_all(process& p, sigset which) {
    signal_flush(p, p.signals.pending, which);
    for (thread& t : p.threads)
        signal_flush(p, t.signals.pending, which);
}

void signal_notice(thread& t, uint32_t flags) {
    t.signals.flags.fetch_or(flags);
    t.machine.work_pending = true;
    sched_signal(t, flags & signal_flag_kill);
}

sigset signal_ready(const thread& self) {
    const sigset blocked = (self.signals.blocked | self.signals.held) & ~signals_unblockable;
    return (self.signals.pending.set | self.proc->signals.pending.set) & ~blocked;
}

linux_siginfo siginfo_by(process& p, int signo, int32_t code) {
    linux_siginfo info{};
    info.signo = signo;
    info.code = code;
    info.child.pid = p.pid;
    info.child.uid = process_uid(p);
    return info;
}

bool signal_must_park(const thread& t) {
    return t.proc->signals.stopping && (!t.signals.traced || t.signals.to_park);
}

void signal_want_trap(tracee& t) {
    if (!t.traced)
        return;
    t.trap = true;
    if (t.stop == trace_stop::listening) {
        t.stop = trace_stop::none;
        t.resumed.wake_all();
    }
    signal_notice(*t.traced, signal_flag_trap);
}

void signal_recompute_locked(thread& t) {
    const process& p = *t.proc;
    uint32_t flags = t.signals.flags.load(std::memory_order_relaxed) &
                     (signal_flag_gone | signal_flag_clock | signal_flag_trap);
    if (p.signals.exiting && p.signals.survivor != &t)
        flags |= signal_flag_pending | signal_flag_kill;
    if (signal_must_park(t))
        flags |= signal_flag_stop;
    for (sigset rest = signal_ready(t); rest; rest &= rest - 1) {
        flags |= signal_flag_pending;
        if (kills(t, std::countr_zero(rest) + 1))
            flags |= signal_flag_kill;
    }
    t.signals.flags.store(flags);
    if (flags)
        t.machine.work_pending = true;
}

void signal_recompute(thread& self) {
    signal_guard guard(*self.proc->handlers);
    signal_recompute_locked(self);
}

void signal_release_held(thread& self) {
    signal_guard guard(*self.proc->handlers);
    self.signals.held = 0;
    signal_recompute_locked(self);
}

void signal_send_process_locked(process& target, int signo, const linux_siginfo* info) {
    (void)send_info(target, nullptr, signo, info);
}

void signal_send_process(process& target, int signo, const linux_siginfo* info) {
    lock_guard tree(process_tree_lock);
    signal_send_process_locked(target, signo, info);
}

void signal_send_thread(thread& target, int signo, const linux_siginfo* info) {
    lock_guard tree(process_tree_lock);
    (void)send_info(*target.proc, &target, signo, info);
}

status signal_queue_info(process& target, thread* to_thread, int signo, const linux_siginfo& info) {
    return send_info(target, to_thread, signo, &info);
}

void signal_send_entry(process& p, thread* to_thread, pending_signal& entry) {
    const bool was_stopped = p.state == process_state::stopped;
    {
        signal_guard guard(*p.handlers);
        send_entry(p, to_thread, entry);
    }
    tell_if_continued(p, was_stopped);
}

void signal_drop_entry(process& p, thread* to_thread, pending_signal& entry) {
    lock_guard tree(process_tree_lock);
    signal_guard guard(*p.handlers);
    if (!entry.on_queue.linked())
        return;
    signal_queue& queue = to_thread ? to_thread->signals.pending : p.signals.pending;
    queue.queued.remove(entry);
    const int signo = entry.info.signo;
    for (pending_signal& other : queue.queued)
        if (other.info.signo == signo)
            return;
    queue.set &= ~sig_bit(signo);
}

void signal_send_group(pid_t id, int signo, const linux_siginfo* info) {
    if (id <= 0)
        return;
    lock_guard walking(group_lock);
    if (const ref_ptr<process_group> group = group_get(id))
        group_walk(*group, [&](process& p) REQUIRES(process_tree_lock) {
            (void)send_info(p, nullptr, signo, info);
            p.signals_to_many++;
        });
}

void signal_force(thread& self, int signo, int32_t code, uint64_t address) {
    process& p = *self.proc;
    signal_guard guard(*p.handlers);
    if ((self.signals.blocked & sig_bit(signo)) || p.handlers->action(signo).handler == sig_ign) {
        p.handlers->set(signo, {});
        self.signals.blocked &= ~sig_bit(signo);
    }
    self.signals.forced |= sig_bit(signo);
    if (!(self.signals.pending.set & sig_bit(signo))) {
        if (pending_signal* entry = create_entry(p, true)) {
            entry->info = {};
            entry->info.signo = signo;
            entry->info.code = code;
            entry->info.fault.address = address;
            self.signals.pending.queued.push_back(*entry);
        }
        self.signals.pending.set |= sig_bit(signo);
    }
    signal_recompute_locked(self);
}

bool signal_begin_exit(process& p, thread* survivor, int wait_status) {
    lock_guard tree(process_tree_lock);
    signal_guard guard(*p.handlers);
    if (p.signals.exiting)
        return false;
    p.signals.exiting = true; // from now on no thread is made
    p.signals.survivor = survivor;
    p.group_exit_status = wait_status;
    p.signals.stop_taken = false;
    resume(p);
    for (thread& t : p.threads)
        if (&t != survivor)
            signal_notice(t, signal_flag_pending | signal_flag_kill);
    return true;
}

void signal_end_exec(process& p) {
    lock_guard tree(process_tree_lock);
    signal_guard guard(*p.handlers);
    p.signals.exiting = false;
    p.signals.survivor = nullptr;
    p.group_exit_status = 0;
    for (thread& t : p.threads)
        signal_recompute_locked(t);
}

void signal_stop_counted(thread& self) {
    process& p = *self.proc;
    lock_guard tree(process_tree_lock);
    {
        signal_guard guard(*p.handlers);
        if (!self.signals.to_park)
            return;
        self.signals.to_park = false;
        if (--p.signals.to_park != 0 || !first_thread(p))
            return;
        process_set_state(p, process_state::stopped);
        p.stop_reported = false;
        p.continue_reported = true;
    }
    // Nobody can continue it before this is told.
    tell_parent(p, cld_stopped);
}

void signal_thread_exiting(thread& self) {
    process& p = *self.proc;
    {
        lock_guard tree(process_tree_lock);
        signal_guard guard(*p.handlers);
        self.signals.flags.fetch_or(signal_flag_gone);
        signal_flush(p, self.signals.pending, ~sigset{0});
        retarget(p, self, ~self.signals.blocked);
    }
    signal_stop_counted(self);
}

bool signal_parent_discards_children(process& parent) {
    signal_guard guard(*parent.handlers);
    const linux_sigaction& action = parent.handlers->action(sigchld);
    return action.handler == sig_ign || (action.flags & sa_nocldwait);
}

bool signal_parent_ignores_stops(process& parent) {
    signal_guard guard(*parent.handlers);
    const linux_sigaction& action = parent.handlers->action(sigchld);
    return action.handler == sig_ign || (action.flags & sa_nocldstop);
}

bool signal_blocked_or_ignored(thread& self, int signo) {
    signal_guard guard(*self.proc->handlers);
    return ((self.signals.blocked | self.signals.held) & sig_bit(signo)) ||
           self.proc->handlers->action(signo).handler == sig_ign;
}

void signal_set_mask(thread& self, sigset mask) {
    process& p = *self.proc;
    sigset newly_blocked;
    {
        signal_guard guard(*p.handlers);
        mask &= ~signals_unblockable;
        newly_blocked = mask & ~self.signals.blocked & p.signals.pending.set;
        self.signals.blocked = mask;
        signal_recompute_locked(self);
    }
    if (newly_blocked) {
        lock_guard tree(process_tree_lock);
        signal_guard guard(*p.handlers);
        retarget(p, self, newly_blocked);
    }
}

void signal_set_temporary_mask(thread& self, sigset mask) {
    self.signals.saved_mask = self.signals.own_mask();
    self.signals.restore_mask = true;
    signal_set_mask(self, mask);
    self.machine.work_pending = true; // the old mask has to come back on the way to user mode
}

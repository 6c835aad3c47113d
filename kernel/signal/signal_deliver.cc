// What signals do to a thread on its way back to user mode: it leaves, it stops, or it runs a
// handler.
//
//     signal_deliver
//       take_next       the next signal that has a handler; on the way there
//         thread_exit, process_exit_group     the process is ending, or the default action ends it
//         begin_stop, park                    the process stops: every thread parks, the last one
//                                             tells the parent (of SIGCONT its sender does)
//       settle_call     the system call that the signal interrupted: EINTR, or once more
//       run_handler     a frame on the user stack (arch/signal_frame.h)
#include "arch/registers.h"
#include "arch/signal_frame.h"
#include "kernel/process/process_group.h"
#include "kernel/sched/sched.h"
#include "kernel/signal/last_words.h"
#include "kernel/signal/signal.h"
#include "kernel/signal/signal_internal.h"
#include "kernel/signal/trace.h"
#include "kernel/time/cpu_clock.h"
#include "lib/assert.h"

#include <bit>
#include <machine/trap_frame.h>

using namespace linux_abi;

namespace {

constexpr uint64_t nr_restart_syscall = 219;

bool is_restart_code(int64_t result) {
    switch (static_cast<Errno>(-result)) {
    case Errno::restartsys:
    case Errno::restartnointr:
    case Errno::restartnohand:
    case Errno::restart_block: return true;
    default: return false;
    }
}

// Decides what becomes of an interrupted call: `handled` says whether a handler runs, `restart`
// whether it has SA_RESTART.
void settle_call(trap_frame& frame, bool handled, bool restart) {
    if (!call_interrupted(frame))
        return;
    switch (static_cast<Errno>(-frame.result())) {
    case Errno::restart_block:
        if (handled)
            frame.set_result(-static_cast<int64_t>(Errno::intr));
        else
            frame.restart_syscall(nr_restart_syscall);
        break;
    case Errno::restartnohand: restart = false; [[fallthrough]];
    case Errno::restartsys:
        if (handled && !restart) {
            frame.set_result(-static_cast<int64_t>(Errno::intr));
            break;
        }
        [[fallthrough]];
    default: frame.restart_syscall();
    }
    frame.forget_syscall();
}

// Linux's order: SIGKILL, faults, then the lowest number.
int first_of(sigset ready) {
    if (ready & sig_bit(sigkill))
        return sigkill;
    if (ready & signals_of_faults)
        ready &= signals_of_faults;
    return std::countr_zero(ready) + 1;
}

// A stop signal was taken by `self`: all threads of the process are to park, unless the group is
// orphaned (then nobody would continue it, and only SIGSTOP stops), or SIGCONT has come in the
// meantime.
void begin_stop(thread& self, int signo) {
    process& p = *self.proc;
    lock_guard tree(process_tree_lock);
    signal_guard guard(*p.handlers);
    if (!p.signals.stop_taken || p.signals.stopping || p.signals.exiting)
        return;
    p.signals.stop_taken = false;
    if (signo != sigstop && p.group->ties == 0)
        return;
    p.signals.stopping = true;
    p.stop_signo = signo;
    p.signals.to_park = 0;
    for (thread& t : p.threads) {
        if (t.signals.flags.load() & signal_flag_gone)
            continue;
        t.signals.to_park = true;
        p.signals.to_park++;
        signal_notice(t, signal_flag_stop);
    }
}

// Sleeps until the process goes on. The last thread to come tells the parent.
void park(thread& self) {
    process& p = *self.proc;
    signal_stop_counted(self);
    if (self.signals.traced)
        trace_trap(self);
    signal_guard guard(*p.handlers);
    while (signal_must_park(self) && !p.signals.exiting)
        guard.wait(p.signals.parked, "stopped");
}

struct taken_signal {
    int signo = 0; // 0: none
    linux_siginfo info{};
    linux_sigaction action{};
    bool forced = false; // by a fault of its own
    bool has_handler() const { return action.handler != sig_dfl && action.handler != sig_ign; }
};

// Takes the first of those that are `ready`.
taken_signal take_first(thread& self, sigset ready) REQUIRES(signal_lock) {
    process& p = *self.proc;
    taken_signal taken{.signo = first_of(ready)};
    ASSERT(taken.signo <= signal_max);
    const sigset bit = sig_bit(taken.signo);
    signal_queue& queue = self.signals.pending.set & bit ? self.signals.pending : p.signals.pending;
    signal_take(p, queue, taken.signo, taken.info);
    taken.forced = self.signals.forced & bit;
    self.signals.forced &= ~bit;
    return taken;
}

// What is to be done with it. SA_RESETHAND puts its action back.
void choose_action(process& p, taken_signal& taken) REQUIRES(signal_lock) {
    taken.action = p.handlers->action(taken.signo);
    if (taken.has_handler() && (taken.action.flags & sa_resethand)) {
        linux_sigaction after = taken.action;
        after.handler = sig_dfl;
        p.handlers->set(taken.signo, after);
    }
}

// A tracer may take a signal away, or make it another one.
void ask_tracer(thread& self, taken_signal& taken) {
    const int signo = trace_signal(self, taken.signo, taken.info);
    taken.forced = taken.forced && signo == taken.signo;
    taken.signo = signo;
}

// The next signal to run a handler for. Does all the rest on the way; may not return.
taken_signal take_next(thread& self, const trap_frame& frame) {
    process& p = *self.proc;
    signal_guard guard(*p.handlers);
    for (;;) {
        if (p.signals.exiting && p.signals.survivor != &self) {
            guard.unlock();
            process_exit_group(0); // with the status that it has already
        }
        if (const bool parks = signal_must_park(self);
            parks || (self.signals.flags.load() & signal_flag_trap)) {
            guard.unlock();
            parks ? park(self) : trace_trap(self);
            guard.lock();
            continue;
        }
        sigset ready = signal_ready(self);
        if (!ready) {
            signal_recompute_locked(self);
            return {};
        }
        taken_signal taken = take_first(self, ready);
        if (self.signals.traced && taken.signo != sigkill) {
            guard.unlock();
            ask_tracer(self, taken);
            guard.lock();
            if (!taken.signo)
                continue;
        }
        choose_action(p, taken);
        if (taken.has_handler()) {
            signal_recompute_locked(self);
            return taken;
        }
        const sigset bit = sig_bit(taken.signo);
        if (taken.action.handler == sig_ign || (bit & signals_ignored_by_default) ||
            (signal_protected(p) && !taken.forced))
            continue;
        if (bit & signals_that_stop) {
            p.signals.stop_taken = true;
            guard.unlock();
            begin_stop(self, taken.signo);
            guard.lock();
            continue;
        }
        guard.unlock();
        if (taken.forced)
            last_words(self, frame, taken.info);
        process_exit_group(taken.signo); // as wait4 says "killed by"; there are no core dumps
    }
}

void run_handler(thread& self, trap_frame& frame, const taken_signal& taken) {
    settle_call(frame, true, taken.action.flags & sa_restart);
    process& p = *self.proc;
    thread_signals& own = self.signals;
    const sigset back = own.restore_mask ? own.saved_mask : own.own_mask();
    const bool stepping = self.machine.stepping;
    machine_set_stepping(self.machine, false); // the frame is the program's
    status pushed = signal_frame_push(
        self.machine, frame, {taken.signo, taken.info, taken.action, back, self.alt_stack});
    if (!pushed) {
        // Its handler cannot run either, if that is what failed.
        if (taken.signo == sigsegv) {
            signal_guard guard(*p.handlers);
            p.handlers->set(sigsegv, {});
        }
        signal_force(self, sigsegv, si_kernel, 0);
        return;
    }
    frame.forget_syscall();
    if (self.alt_stack.flags & ss_autodisarm)
        self.alt_stack = {0, ss_disable, 0, 0};
    own.restore_mask = false;
    sigset mask = own.own_mask() | taken.action.mask;
    if (!(taken.action.flags & sa_nodefer))
        mask |= sig_bit(taken.signo);
    signal_set_mask(self, mask);
    if (stepping)
        trace_step(self);
}

} // namespace

bool call_interrupted(const trap_frame& frame) {
    return frame.is_syscall() && is_restart_code(frame.result());
}

bool signal_work(thread& self, const trap_frame& frame) {
    return self.signals.flags.load() != 0 || self.signals.restore_mask || call_interrupted(frame);
}

void signal_deliver(thread& self, trap_frame& frame) {
    ASSERT(frame.from_user());
    do {
        cpu_alarms_check(self);
        for (taken_signal taken = take_next(self, frame); taken.signo;
             taken = take_next(self, frame))
            run_handler(self, frame, taken);
        settle_call(frame, false, false);
        if (self.signals.restore_mask) {
            self.signals.restore_mask = false;
            signal_set_mask(self, self.signals.saved_mask);
        }
    } while (self.signals.flags.load() != 0);
}

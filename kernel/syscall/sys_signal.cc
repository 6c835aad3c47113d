// The system calls about signals. sigaltstack's rules are here too; the timers that send signals
// are in itimer.cc.
#include "arch/signal_frame.h"
#include "arch/timer.h"
#include "kernel/abi/syscalls.h"
#include "kernel/files/file.h"
#include "kernel/files/vnode.h"
#include "kernel/process/group_walk.h"
#include "kernel/signal/signal.h"
#include "kernel/signal/signal_internal.h"
#include "kernel/time/cpu_clock.h"
#include "kernel/time/posix_timers.h"
#include "lib/string.h"

#include <algorithm>
#include <bit>
#include <machine/trap_frame.h>

using namespace linux_abi;

namespace {

constexpr uint64_t sigset_size = sizeof(sigset);
constexpr uint64_t min_signal_stack = 2048; // MINSIGSTKSZ
constexpr uint64_t known_action_flags = sa_nocldstop | sa_nocldwait | sa_siginfo | sa_restorer |
                                        sa_onstack | sa_restart | sa_nodefer | sa_resethand;

bool valid_signal(int signo) { return signo >= 1 && signo <= signal_max; }
bool valid_signal_or_0(int signo) { return signo == 0 || valid_signal(signo); }

linux_siginfo info_from_caller(int signo, int32_t code) {
    return siginfo_by(current_process(), signo, code);
}

// Whether the caller, whose credentials are `mine`, may send `signo` to `target`.
bool may_signal(const credentials& mine, process& target, int signo) REQUIRES(process_tree_lock) {
    process& self = current_process();
    if (&target == &self || credentials_may_signal(mine, process_credentials(target)))
        return true;
    return signo == sigcont &&
           target.group->sess ==
               self.group->sess; // a shell may continue a job that changed its user
}

// One target of kill. Signal 0 only asks.
status send_to(const credentials& mine, process& target, thread* to_thread,
               const linux_siginfo& info) REQUIRES(process_tree_lock) {
    if (!may_signal(mine, target, info.signo))
        return fail(Errno::perm);
    if (info.signo == 0)
        return {};
    return signal_queue_info(target, to_thread, info.signo, info);
}

status kill_one(pid_t pid, const linux_siginfo& info) {
    const credentials mine = process_credentials(current_process());
    ref_ptr<process> target = process_find(pid);
    if (!target) {
        // Any thread's id stands for its process.
        ref_ptr<thread> t = thread_find(pid);
        if (!t)
            return fail(Errno::srch);
        target = t->proc;
    }
    lock_guard tree(process_tree_lock);
    return send_to(mine, *target, nullptr, info);
}

constexpr pid_t everybody = -1; // but init and the caller

// kill of a group, or of everybody.
status kill_many(pid_t id, const linux_siginfo& info) {
    process& self = current_process();
    const credentials mine = process_credentials(self);
    bool any_sent = false;
    Errno error = Errno::srch;
    auto send = [&](process& p) REQUIRES(process_tree_lock) {
        if (id == everybody && (&p == init_process || &p == &self))
            return;
        status sent = send_to(mine, p, nullptr, info);
        p.signals_to_many += sent && info.signo != 0;
        // Of everybody those are meant who may be signalled, be there any or not.
        if (sent || (id == everybody && sent.error() == Errno::perm))
            any_sent = true;
        else
            error = sent.error();
    };
    lock_guard walking(group_lock);
    if (id != everybody) {
        if (ref_ptr<process_group> group = group_get(id))
            group_walk(*group, send);
    } else {
        for (auto group = group_next(0); group; group = group_next(group->id + 1))
            group_walk(*group, send);
    }
    if (!any_sent)
        return fail(error);
    return {};
}

// tkill, tgkill, rt_tgsigqueueinfo. `pid` 0: whichever process the thread is of.
status kill_thread(pid_t pid, pid_t tid, const linux_siginfo& info) {
    const credentials mine = process_credentials(current_process());
    ref_ptr<thread> target = thread_find(tid);
    if (!target || (pid != 0 && target->proc->pid != pid))
        return fail(Errno::srch);
    lock_guard tree(process_tree_lock);
    return send_to(mine, *target->proc, target.get(), info);
}

// A siginfo that the caller made up. Only to itself may it pretend that the kernel or kill() had
// sent it.
expected<linux_siginfo> made_up_info(pid_t pid, int signo, user_ptr<const linux_siginfo> from) {
    linux_siginfo info = TRY(from.read());
    info.signo = signo;
    if ((info.code >= 0 || info.code == si_tkill) && pid != current_process().pid)
        return fail(Errno::perm);
    if (!valid_signal_or_0(signo))
        return fail(Errno::inval);
    return info;
}

// Sleeps until a signal wants to be delivered.
sysresult wait_for_signal(const char* why) {
    wait_queue nobody_wakes;
    signal_guard guard(*current_process().handlers);
    while (guard.wait_interruptible(nobody_wakes, why)) {
    }
    return fail(Errno::restartnohand);
}

// Waits until one of `wanted` is pending, and takes it: its number; EAGAIN at the deadline, EINTR
// for another signal.
expected<int> wait_for_one_of(sigset wanted, nanos_t deadline, linux_siginfo& info) {
    thread& self = current_thread();
    cpu_alarms_check(self);
    signal_guard guard(*self.proc->handlers);
    if (int signo = signal_take_one_of(self, wanted, info))
        return signo;
    if (deadline == 0)
        return fail(Errno::again);
    // While it sleeps they count as unblocked, so that they wake it, and as wanted, so that they
    // are kept although they may be ignored, and do not kill.
    const sigset blocked = self.signals.blocked;
    self.signals.waited_for = wanted;
    self.signals.blocked &= ~wanted;
    signal_recompute_locked(self);
    wait_queue nobody_wakes;
    int signo = 0;
    status slept;
    while (slept && !(signo = signal_take_one_of(self, wanted, info)))
        slept = guard.wait_interruptible(nobody_wakes, "sigwait", deadline);
    if (!signo)
        signo = signal_take_one_of(self, wanted, info);
    self.signals.waited_for = 0;
    self.signals.blocked = blocked;
    signal_recompute_locked(self);
    if (signo)
        return signo;
    return fail(slept.error() == Errno::timedout ? Errno::again : Errno::intr);
}

// The absolute deadline of a time-out that starts now; EINVAL.
expected<nanos_t> deadline_after(const linux_timespec& t) {
    if (t.sec < 0 || t.nsec < 0 || t.nsec >= int64_t(nanos_per_second))
        return fail(Errno::inval);
    nanos_t wait, deadline;
    if (__builtin_mul_overflow(nanos_t(t.sec), nanos_per_second, &wait) ||
        __builtin_add_overflow(wait, nanos_t(t.nsec), &wait) ||
        __builtin_add_overflow(now(), wait, &deadline))
        return forever;
    return wait == 0 ? 0 : deadline;
}

} // namespace

sysresult sys_rt_sigaction(sys_signal signo, user_ptr<const linux_sigaction> action,
                           user_ptr<linux_sigaction> old, uint64_t size) {
    if (size != sigset_size || !valid_signal(signo))
        return fail(Errno::inval);
    if (action && (sig_bit(signo) & signals_unblockable))
        return fail(Errno::inval);
    linux_sigaction wanted{}, before;
    if (action) {
        wanted = TRY(action.read());
        wanted.flags &=
            known_action_flags; // as Linux: a program sees from the old action which are known
        wanted.mask &= ~signals_unblockable;
    }
    auto ignores = [signo](const linux_sigaction& a) {
        return a.handler == sig_ign ||
               (a.handler == sig_dfl && (sig_bit(signo) & signals_ignored_by_default));
    };
    process& p = current_process();
    {
        lock_guard tree(process_tree_lock);
        signal_guard guard(*p.handlers);
        before = p.handlers->action(signo);
        if (action) {
            p.handlers->set(signo, wanted);
            if (ignores(wanted))
                signal_flush_all(p, sig_bit(signo));
            for (thread& t : p.threads)
                signal_recompute_locked(t);
        }
    }
    if (action && ignores(before) && !ignores(wanted))
        posix_timers_go_on(p, signo);
    if (old)
        TRY(old.write(before));
    return 0;
}

sysresult sys_rt_sigprocmask(int32_t how, user_ptr<const uint64_t> set, user_ptr<uint64_t> old,
                             uint64_t size) {
    if (size != sigset_size)
        return fail(Errno::inval);
    thread& self = current_thread();
    const sigset before = self.signals.own_mask();
    if (set) {
        const sigset wanted = TRY(set.read());
        sigset mask;
        switch (how) {
        case 0: mask = before | wanted; break;  // SIG_BLOCK
        case 1: mask = before & ~wanted; break; // SIG_UNBLOCK
        case 2: mask = wanted; break;           // SIG_SETMASK
        default: return fail(Errno::inval);
        }
        signal_set_mask(self, mask);
    }
    if (old)
        TRY(old.write(before));
    return 0;
}

NO_ALLOC sysresult sys_rt_sigreturn() {
    thread& self = current_thread();
    trap_frame& frame = machine_user_frame(self.machine);
    auto contents = signal_frame_pop(self.machine, frame);
    if (!contents) {
        signal_force(self, sigsegv, si_kernel, 0);
        return 0;
    }
    signal_set_mask(self, contents->mask);
    // A stack that cannot be is left out in silence, as on Linux: the handler may have changed it.
    (void)signal_set_alt_stack(
        self, {contents->alt_stack_sp, contents->alt_stack_flags, 0, contents->alt_stack_size},
        frame.rsp);
    return frame.result();
}

sysresult sys_pause() { return wait_for_signal("pause"); }

sysresult sys_rt_sigsuspend(user_ptr<const uint64_t> mask, uint64_t size) {
    if (size != sigset_size)
        return fail(Errno::inval);
    signal_set_temporary_mask(current_thread(), TRY(mask.read()));
    return wait_for_signal("sigsuspend");
}

sysresult sys_kill(sys_pid pid, sys_signal signo) {
    if (!valid_signal_or_0(signo))
        return fail(Errno::inval);
    const linux_siginfo info = info_from_caller(signo, si_user);
    if (pid > 0)
        TRY(kill_one(pid, info));
    else if (pid == INT32_MIN)
        return fail(Errno::srch);
    else if (pid < -1)
        TRY(kill_many(-pid, info));
    else if (pid == -1)
        TRY(kill_many(everybody, info));
    else
        TRY(kill_many(current_group(), info));
    return 0;
}

sysresult sys_tkill(sys_pid tid, sys_signal signo) {
    if (tid <= 0 || !valid_signal_or_0(signo))
        return fail(Errno::inval);
    TRY(kill_thread(0, tid, info_from_caller(signo, si_tkill)));
    return 0;
}

sysresult sys_tgkill(sys_pid pid, sys_pid tid, sys_signal signo) {
    if (pid <= 0 || tid <= 0 || !valid_signal_or_0(signo))
        return fail(Errno::inval);
    TRY(kill_thread(pid, tid, info_from_caller(signo, si_tkill)));
    return 0;
}

sysresult sys_rt_sigqueueinfo(sys_pid pid, sys_signal signo, user_ptr<const linux_siginfo> info) {
    TRY(kill_one(pid, TRY(made_up_info(pid, signo, info))));
    return 0;
}

sysresult sys_pidfd_send_signal(sys_fd fd, sys_signal signo, user_ptr<const linux_siginfo> from,
                                sys_hex flags) {
    if (flags)
        return fail(Errno::inval);
    ref_ptr<file> opened = TRY(current_thread().files->get(fd));
    ref_ptr<process> target(opened->pidfd_process());
    if (!target && (opened->flags() & o_path))
        return fail(Errno::badf);
    if (!target)
        target = TRY(opened->node()->described_process());
    linux_siginfo info = info_from_caller(signo, si_user);
    if (from) {
        const linux_siginfo given = TRY(from.read());
        if (given.signo != signo)
            return fail(Errno::inval);
        info = TRY(made_up_info(target->pid, signo, from));
    }
    if (!valid_signal_or_0(signo))
        return fail(Errno::inval);
    const credentials mine = process_credentials(current_process());
    lock_guard tree(process_tree_lock);
    if (!target->parent) // waited for, or not in the tree yet
        return fail(Errno::srch);
    TRY(send_to(mine, *target, nullptr, info));
    return 0;
}

sysresult sys_rt_tgsigqueueinfo(sys_pid pid, sys_pid tid, sys_signal signo,
                                user_ptr<const linux_siginfo> info) {
    if (pid <= 0 || tid <= 0)
        return fail(Errno::inval);
    TRY(kill_thread(pid, tid, TRY(made_up_info(pid, signo, info))));
    return 0;
}

sysresult sys_rt_sigpending(user_ptr<uint64_t> set, uint64_t size) {
    if (size > sigset_size)
        return fail(Errno::inval);
    thread& self = current_thread();
    sigset pending;
    {
        signal_guard guard(*self.proc->handlers);
        pending =
            (self.signals.pending.set | self.proc->signals.pending.set) & self.signals.blocked;
    }
    TRY(copy_out(set.address(), &pending, size));
    return 0;
}

sysresult sys_rt_sigtimedwait(user_ptr<const uint64_t> set, user_ptr<linux_siginfo> info,
                              user_ptr<const linux_timespec> timeout, uint64_t size) {
    if (size != sigset_size)
        return fail(Errno::inval);
    const sigset wanted = TRY(set.read()) & ~signals_unblockable;
    nanos_t deadline = forever;
    if (timeout)
        deadline = TRY(deadline_after(TRY(timeout.read())));
    linux_siginfo taken;
    const int signo = TRY(wait_for_one_of(wanted, deadline, taken));
    if (info)
        TRY(info.write(taken));
    return signo;
}

bool signal_on_alt_stack(const linux_stack& stack, uint64_t sp) {
    return !(stack.flags & ss_autodisarm) && sp > stack.sp && sp - stack.sp <= stack.size;
}

status signal_set_alt_stack(thread& self, const linux_stack& wanted, uint64_t sp) {
    if (signal_on_alt_stack(self.alt_stack, sp))
        return fail(Errno::perm);
    const int32_t mode = wanted.flags & ~ss_autodisarm;
    if (mode != 0 && mode != ss_onstack && mode != ss_disable)
        return fail(Errno::inval);
    if (mode == ss_disable) {
        self.alt_stack = {0, wanted.flags, 0, 0};
        return {};
    }
    if (wanted.size < min_signal_stack)
        return fail(Errno::nomem);
    self.alt_stack = {wanted.sp, wanted.flags, 0, wanted.size};
    return {};
}

sysresult sys_sigaltstack(user_ptr<const linux_stack> stack, user_ptr<linux_stack> old) {
    thread& self = current_thread();
    const uint64_t sp = machine_user_frame(self.machine).rsp;
    linux_stack before = self.alt_stack;
    before.flags &= ss_autodisarm;
    if (before.size == 0)
        before.flags |= ss_disable;
    else if (signal_on_alt_stack(self.alt_stack, sp))
        before.flags |= ss_onstack;
    if (stack)
        TRY(signal_set_alt_stack(self, TRY(stack.read()), sp));
    if (old)
        TRY(old.write(before));
    return 0;
}

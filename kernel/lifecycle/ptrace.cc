// ptrace(2): one thread stops another, looks at its registers and memory, changes them, and lets it
// go on.
//
//   begin     TRACEME, ATTACH, SEIZE    by docs/security.md's rule; never init, never one's own process
//   stop      a signal to the tracee, PTRACE_INTERRUPT, a system call: kernel/signal/trace.cc. The
//             tracer gets SIGCHLD and waits for it as for a child: kernel/lifecycle/wait.cc
//   look      all the rest, at a tracee that has stopped and is off its stack; else ESRCH
//   go on     CONT, SYSCALL, SINGLESTEP, LISTEN
//   end       DETACH; the tracer's end (tracer_exiting); the tracee's, of which the tracer hears
//             before its parent
#include "kernel/lifecycle/ptrace.h"

#include "arch/registers.h"
#include "kernel/abi/ptrace.h"
#include "kernel/abi/syscalls.h"
#include "kernel/sched/sched.h"
#include "kernel/signal/end_signal.h"
#include "kernel/signal/signal.h"
#include "kernel/signal/signal_internal.h"
#include "kernel/signal/trace.h"
#include "lib/assert.h"
#include "lib/long_work.h"
#include "lib/string.h"
#include "vm/vmspace.h"

#include <algorithm>
#include <machine/trap_frame.h>

using namespace linux_abi;

namespace {

constexpr uint32_t event_options = 0x7e; // of PTRACE_EVENT_FORK to _EXIT
constexpr uint32_t known_options = ptrace_o_tracesysgood | event_options | ptrace_o_exitkill;

bool is_gone(const thread& t) { return t.signals.flags.load() & signal_flag_gone; }

// ---- Begin -----------------------------------------------------------------------------------

sysresult trace_me() {
    thread& self = current_thread();
    process& p = *self.proc;
    ref_ptr<tracee> how = TRY(tracee::create());
    const bool root = current_credentials().superuser();
    lock_guard tree(process_tree_lock);
    if (self.trace)
        return fail(Errno::perm);
    if (root && !process_credentials(*p.parent).superuser())
        return fail(Errno::perm);
    how->by_root = root;
    if (p.parent_thread && !is_gone(*p.parent_thread))
        trace_link(self, *p.parent_thread, std::move(how));
    return 0;
}

// EPERM: `t` is not to be traced by the running thread.
status check_attach(thread& t, const credentials& who) REQUIRES(process_tree_lock) {
    process& p = *t.proc;
    if (t.kernel_thread || &p == &current_process() || &p == init_process || t.trace ||
        is_gone(t) || p.gains_rights)
        return fail(Errno::perm);
    lock_guard guard(p.lock);
    if (!credentials_may_access(who, *p.context, access_mode::realcreds))
        return fail(Errno::perm);
    return {};
}

sysresult attach(pid_t pid, bool seize, uint64_t address, uint64_t options) {
    if (seize && (address || (options & ~uint64_t{known_options})))
        return fail(Errno::io);
    const ref_ptr<thread> t = thread_find(pid);
    if (!t)
        return fail(Errno::srch);
    ref_ptr<tracee> how = TRY(tracee::create());
    const credentials who = current_credentials();
    lock_guard tree(process_tree_lock);
    TRY(check_attach(*t, who));
    how->seized = seize;
    how->options = seize ? uint32_t(options) : 0;
    how->by_root = who.superuser();
    tracee& traced = *how;
    trace_link(*t, current_thread(), std::move(how));
    if (seize)
        return 0;
    process& p = *t->proc;
    bool stopped;
    {
        signal_guard guard(*p.handlers);
        stopped = p.signals.stopping && !t->signals.to_park;
        if (stopped) { // it has parked
            signal_want_trap(traced);
            p.signals.parked.wake_all();
        }
    }
    linux_siginfo info{};
    info.signo = sigstop;
    info.code = si_kernel;
    if (!stopped)
        (void)signal_queue_info(p, t.get(), sigstop, info);
    return 0;
}

// ---- Look ------------------------------------------------------------------------------------

// The tracee `pid` of the running thread. ESRCH.
expected<tracee*> own_tracee(pid_t pid) REQUIRES(process_tree_lock) {
    tracee* const t = tracee_find(pid);
    if (!t || t->tracer != &current_thread() || !t->traced)
        return fail(Errno::srch);
    return t;
}

// Calls work(tracee, thread) for one that has stopped and is off its stack, and stays so until the
// lock is let go of.
template <class Work> sysresult with_stopped(pid_t pid, Work work) {
    lock_guard tree(process_tree_lock);
    for (;;) {
        tracee& t = *TRY(own_tracee(pid));
        if (t.stop == trace_stop::none || t.stop == trace_stop::listening ||
            t.stop == trace_stop::ended || t.traced->state.load() != thread_state::sleeping)
            return fail(Errno::srch); // or it has been killed, and is awake
        if (!t.traced->on_cpu.load(std::memory_order_acquire))
            return work(t, *t.traced);
        long_work::pause_without(tree);
    }
}

// What a request looks at or changes, by a copy that is taken, or put back, under the lock.
template <class T, class Look> sysresult look(pid_t pid, user_ptr<T> to, Look at) {
    T copy{};
    const int64_t result =
        TRY(with_stopped(pid, [&](tracee& t, thread& of) REQUIRES(process_tree_lock) -> sysresult {
            return at(t, of, copy);
        }));
    TRY(to.write(copy));
    return result;
}

expected<ref_ptr<vmspace>> memory_of(pid_t pid) {
    ref_ptr<vmspace> vm;
    TRY(with_stopped(pid, [&](tracee& t, thread& of) REQUIRES(process_tree_lock) -> sysresult {
        process& p = *of.proc;
        lock_guard guard(p.lock);
        if (!p.context->vm || !(p.context->dumpable || t.by_root))
            return fail(Errno::io);
        vm = p.context->vm;
        return 0;
    }));
    return vm;
}

sysresult peek(pid_t pid, vaddr_t at, user_ptr<uint64_t> to) {
    const ref_ptr<vmspace> vm = TRY(memory_of(pid));
    uint64_t word;
    if (!vm->read_memory(at, &word, sizeof word, true))
        return fail(Errno::io);
    TRY(to.write(word));
    return 0;
}

sysresult poke(pid_t pid, vaddr_t at, uint64_t word) {
    const ref_ptr<vmspace> vm = TRY(memory_of(pid));
    if (!vm->write_memory(at, &word, sizeof word, true))
        return fail(Errno::io);
    return 0;
}

sysresult peek_user(pid_t pid, uint64_t at, user_ptr<uint64_t> to) {
    return look(pid, to, [&](tracee&, thread& of, uint64_t& word) -> sysresult {
        if (at % sizeof(uint64_t) || at >= linux_user_size)
            return fail(Errno::io);
        const linux_user_regs regs = machine_get_registers(of.machine);
        if (at < sizeof regs)
            memcpy(&word, reinterpret_cast<const char*>(&regs) + at, sizeof word);
        return 0;
    });
}

sysresult poke_user(pid_t pid, uint64_t at, uint64_t word) {
    return with_stopped(pid, [&](tracee&, thread& of) -> sysresult {
        if (at % sizeof(uint64_t) || at >= sizeof(linux_user_regs))
            return fail(Errno::io);
        linux_user_regs regs = machine_get_registers(of.machine);
        memcpy(reinterpret_cast<char*>(&regs) + at, &word, sizeof word);
        TRY(machine_set_registers(of.machine, regs));
        return 0;
    });
}

using xstate = std::span<std::byte, most_xstate_bytes>;

struct register_set {
    size_t size, unit;
    status (*get)(machine_thread& m, xstate to);
    status (*set)(machine_thread& m, std::span<const std::byte> from);
};

status get_general(machine_thread& m, xstate to) {
    const linux_user_regs regs = machine_get_registers(m);
    memcpy(to.data(), &regs, sizeof regs);
    return {};
}
status set_general(machine_thread& m, std::span<const std::byte> from) {
    linux_user_regs regs = machine_get_registers(m);
    memcpy(&regs, from.data(), from.size());
    return machine_set_registers(m, regs);
}
status get_xstate(machine_thread& m, xstate to) {
    machine_get_xstate(m, to);
    return {};
}

// EINVAL: there is none of that name.
expected<register_set> find_set(uint64_t name) {
    switch (name) {
    case nt_prstatus:
        return register_set{sizeof(linux_user_regs), sizeof(uint64_t), get_general, set_general};
    case nt_prfpreg:
        return register_set{fxsave_bytes, fxsave_bytes, get_xstate, machine_set_xstate};
    case nt_x86_xstate:
        return register_set{machine_xstate_size(), sizeof(uint64_t), get_xstate,
                            machine_set_xstate};
    default: return fail(Errno::inval);
    }
}

// `size` bytes of a set to the program, or from it.
sysresult get_set(pid_t pid, const register_set& set, vaddr_t to, size_t size) {
    std::byte copy[most_xstate_bytes];
    TRY(with_stopped(pid, [&](tracee&, thread& of) -> sysresult {
        TRY(set.get(of.machine, xstate(copy)));
        return 0;
    }));
    TRY(copy_out(to, copy, size));
    return 0;
}

sysresult set_set(pid_t pid, const register_set& set, vaddr_t from, size_t size) {
    std::byte copy[most_xstate_bytes];
    TRY(copy_in(copy, from, size));
    return with_stopped(pid, [&](tracee&, thread& of) -> sysresult {
        TRY(set.set(of.machine, std::span<const std::byte>(copy, size)));
        return 0;
    });
}

// PTRACE_GETREGSET, PTRACE_SETREGSET: by an iovec, which is told how much it was.
sysresult register_set_request(pid_t pid, bool get, uint64_t name, user_ptr<linux_iovec> where) {
    linux_iovec iov = TRY(where.read());
    const register_set set = TRY(find_set(name));
    const size_t size = std::min<uint64_t>(iov.size, set.size);
    if (iov.size % set.unit)
        return fail(Errno::inval);
    if (!get && name != nt_prstatus && size != set.size)
        return fail(Errno::inval);
    iov.size = size;
    TRY(get ? get_set(pid, set, vaddr_t(iov.base), size)
            : set_set(pid, set, vaddr_t(iov.base), size));
    TRY(where.write(iov));
    return 0;
}

sysresult get_siginfo(pid_t pid, user_ptr<linux_siginfo> to) {
    return look(pid, to,
                [](tracee& t, thread&, linux_siginfo& info)
                    REQUIRES(process_tree_lock) -> sysresult {
                        if (!t.has_info)
                            return fail(Errno::inval);
                        info = t.info;
                        return 0;
                    });
}

sysresult set_siginfo(pid_t pid, user_ptr<const linux_siginfo> from) {
    const linux_siginfo info = TRY(from.read());
    return with_stopped(pid, [&](tracee& t, thread&) REQUIRES(process_tree_lock) -> sysresult {
        if (!t.has_info)
            return fail(Errno::inval);
        t.info = info;
        return 0;
    });
}

sysresult get_sigmask(pid_t pid, uint64_t size, user_ptr<sigset> to) {
    if (size != sizeof(sigset))
        return fail(Errno::inval);
    return look(pid, to, [](tracee&, thread& of, sigset& mask) -> sysresult {
        mask = of.signals.restore_mask ? of.signals.saved_mask : of.signals.own_mask();
        return 0;
    });
}

sysresult set_sigmask(pid_t pid, uint64_t size, user_ptr<const sigset> from) {
    if (size != sizeof(sigset))
        return fail(Errno::inval);
    const sigset mask = TRY(from.read()) & ~signals_unblockable;
    return with_stopped(pid, [&](tracee&, thread& of) REQUIRES(process_tree_lock) -> sysresult {
        of.signals.restore_mask = false;
        signal_guard guard(*of.proc->handlers);
        of.signals.blocked = mask;
        signal_recompute_locked(of);
        return 0;
    });
}

sysresult get_syscall_info(pid_t pid, uint64_t size, vaddr_t to) {
    linux_ptrace_syscall_info info{};
    info.arch = audit_arch_x86_64;
    const int64_t whole =
        TRY(with_stopped(pid, [&](tracee& t, thread& of) REQUIRES(process_tree_lock) -> sysresult {
            const trap_frame& f = machine_user_frame(of.machine);
            info.instruction_pointer = f.rip;
            info.stack_pointer = f.rsp;
            switch (t.stop) {
            case trace_stop::call_entry:
                info.op = ptrace_syscall_entry;
                info.entry.number = f.syscall_number();
                memcpy(info.entry.arguments, f.arguments().data(), sizeof info.entry.arguments);
                return sizeof info;
            case trace_stop::call_exit:
                info.op = ptrace_syscall_exit;
                info.exit.result = f.result();
                info.exit.is_error = f.result() < 0 && f.result() >= -4095;
                return offsetof(linux_ptrace_syscall_info, exit.is_error) + 1;
            default: return offsetof(linux_ptrace_syscall_info, entry);
            }
        }));
    TRY(copy_out(to, &info, std::min(size, uint64_t(whole))));
    return whole;
}

// ---- Go on, and end --------------------------------------------------------------------------

void go_on(tracee& t, thread& of, int signo, bool calls, bool step) REQUIRES(process_tree_lock) {
    machine_set_stepping(of.machine, step);
    of.signals.traced = uint8_t(traced_on | (calls ? traced_calls : 0));
    of.machine.work_pending = true; // its registers may be others
    t.resume_signal = signo;
    t.stop = trace_stop::none;
    trace_has_no_news(t);
    t.resumed.wake_all();
}

sysresult resume(pid_t pid, uint64_t signo, bool calls, bool step) {
    return with_stopped(pid, [&](tracee& t, thread& of) REQUIRES(process_tree_lock) -> sysresult {
        if (signo > uint64_t(signal_max))
            return fail(Errno::io);
        go_on(t, of, int(signo), calls, step);
        return 0;
    });
}

sysresult detach(pid_t pid, uint64_t signo) {
    return with_stopped(pid, [&](tracee& t, thread& of) REQUIRES(process_tree_lock) -> sysresult {
        if (signo > uint64_t(signal_max))
            return fail(Errno::io);
        go_on(t, of, int(signo), false, false);
        trace_let_go(t);
        return 0;
    });
}

sysresult listen(pid_t pid) {
    return with_stopped(pid, [&](tracee& t, thread&) REQUIRES(process_tree_lock) -> sysresult {
        if (!t.seized || t.stop != trace_stop::group)
            return fail(Errno::io);
        trace_has_no_news(t);
        t.stop = trace_stop::listening;
        if (t.trap) // asked for meanwhile
            trace_want_stop(t);
        return 0;
    });
}

sysresult interrupt(pid_t pid) {
    lock_guard tree(process_tree_lock);
    tracee& t = *TRY(own_tracee(pid));
    if (!t.seized)
        return fail(Errno::io);
    trace_want_stop(t);
    return 0;
}

sysresult kill_tracee(pid_t pid) {
    lock_guard tree(process_tree_lock);
    const tracee& t = *TRY(own_tracee(pid));
    signal_send_process_locked(*t.proc, sigkill, nullptr);
    return 0;
}

sysresult set_options(pid_t pid, uint64_t options) {
    return with_stopped(pid, [&](tracee& t, thread&) REQUIRES(process_tree_lock) -> sysresult {
        if (options & ~uint64_t{known_options})
            return fail(Errno::inval);
        t.options = uint32_t(options);
        return 0;
    });
}

} // namespace

ref_ptr<process> tracer_lets_go(tracee& t) {
    process& p = *t.proc;
    const bool ended = !t.traced && p.state == process_state::zombie;
    trace_let_go(t); // which may end it
    return ended && tell_parent_of_end(p) ? process_unpublish(p) : nullptr;
}

void tracer_exiting(thread& self) {
    for (;;) {
        ref_ptr<process> discarded;
        {
            lock_guard tree(process_tree_lock);
            tracee* const t = self.tracees.front();
            if (!t)
                return;
            if ((t->options & ptrace_o_exitkill) && t->proc->state != process_state::zombie)
                signal_send_process_locked(*t->proc, sigkill, nullptr);
            discarded = tracer_lets_go(*t);
        }
        long_work::pause();
    }
}

bool exec_may_gain_rights(thread& self) {
    lock_guard tree(process_tree_lock);
    if (self.trace && !self.trace->by_root)
        return false;
    self.proc->gains_rights = true;
    return true;
}

// ---- The system call -------------------------------------------------------------------------

sysresult sys_ptrace(int64_t request, sys_pid pid, sys_address address, uint64_t data) {
    const vaddr_t at = address.address();
    switch (request) {
    case ptrace_traceme: return trace_me();
    case ptrace_attach: return attach(pid, false, 0, 0);
    case ptrace_seize: return attach(pid, true, address, data);
    case ptrace_interrupt: return interrupt(pid);
    case ptrace_kill: return kill_tracee(pid);
    case ptrace_peektext:
    case ptrace_peekdata: return peek(pid, at, user_ptr<uint64_t>(data));
    case ptrace_poketext:
    case ptrace_pokedata: return poke(pid, at, data);
    case ptrace_peekuser: return peek_user(pid, address, user_ptr<uint64_t>(data));
    case ptrace_pokeuser: return poke_user(pid, address, data);
    case ptrace_cont: return resume(pid, data, false, false);
    case ptrace_syscall: return resume(pid, data, true, false);
    case ptrace_singlestep: return resume(pid, data, false, true);
    case ptrace_listen: return listen(pid);
    case ptrace_detach: return detach(pid, data);
    case ptrace_getregs:
        return get_set(pid, *find_set(nt_prstatus), vaddr_t(data), sizeof(linux_user_regs));
    case ptrace_setregs:
        return set_set(pid, *find_set(nt_prstatus), vaddr_t(data), sizeof(linux_user_regs));
    case ptrace_getfpregs: return get_set(pid, *find_set(nt_prfpreg), vaddr_t(data), fxsave_bytes);
    case ptrace_setfpregs: return set_set(pid, *find_set(nt_prfpreg), vaddr_t(data), fxsave_bytes);
    case ptrace_getregset:
    case ptrace_setregset:
        return register_set_request(pid, request == ptrace_getregset, address,
                                    user_ptr<linux_iovec>(data));
    case ptrace_setoptions: return set_options(pid, data);
    case ptrace_geteventmsg:
        return look(pid, user_ptr<uint64_t>(data),
                    [](tracee& t, thread&, uint64_t& message)
                        REQUIRES(process_tree_lock) -> sysresult {
                            message = t.message;
                            return 0;
                        });
    case ptrace_getsiginfo: return get_siginfo(pid, user_ptr<linux_siginfo>(data));
    case ptrace_setsiginfo: return set_siginfo(pid, user_ptr<const linux_siginfo>(data));
    case ptrace_getsigmask: return get_sigmask(pid, address, user_ptr<sigset>(data));
    case ptrace_setsigmask: return set_sigmask(pid, address, user_ptr<const sigset>(data));
    case ptrace_get_syscall_info: return get_syscall_info(pid, address, vaddr_t(data));
    default: break;
    }
    // No such request; of nobody.
    return with_stopped(pid, [](tracee&, thread&) -> sysresult { return fail(Errno::io); });
}

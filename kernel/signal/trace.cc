#include "kernel/signal/trace.h"

#include "arch/registers.h"
#include "kernel/abi/clone_flags.h"
#include "kernel/abi/ptrace.h"
#include "kernel/process/thread.h"
#include "kernel/signal/child_signal.h"
#include "kernel/signal/signal.h"
#include "kernel/signal/signal_internal.h"
#include "lib/assert.h"

#include <machine/trap_frame.h>

using namespace linux_abi;

namespace {

// The tracer's news.
void tell_tracer(tracee& t, pid_t tid, int32_t code, int32_t status) REQUIRES(process_tree_lock) {
    trace_has_news(t);
    process& tracer = *t.tracer->proc;
    linux_siginfo info = child_siginfo(*t.proc);
    info.code = code;
    info.child.pid = tid;
    info.child.status = status;
    if (code != cld_trapped || !signal_parent_ignores_stops(tracer))
        signal_send_process_locked(tracer, sigchld, &info);
    tracer.child_changed.wake_all();
}

void tell_end(tracee& t, pid_t tid, int status) REQUIRES(process_tree_lock) {
    t.stop = trace_stop::ended;
    t.code = status;
    const linux_siginfo info = ended_siginfo(*t.proc, status);
    tell_tracer(t, tid, info.code, info.child.status);
}

bool wants_event(const tracee& t, int event) REQUIRES(process_tree_lock) {
    return t.options & 1u << event;
}

struct stop_request {
    trace_stop kind;
    int code;
    linux_siginfo* info; // null: it has none
    uint64_t message = 0;
};

// Returns with which signal the thread goes on; without a tracer, with that which it stops for.
int stop(thread& self, const stop_request& request) REQUIRES(process_tree_lock) {
    const ref_ptr<tracee> t = self.trace;
    const int without = request.kind == trace_stop::signal ? request.code : 0;
    if (!t || signal_kill_pending(self))
        return without;
    t->stop = request.kind;
    t->code = request.code;
    t->message = request.message;
    t->has_info = request.info;
    t->resume_signal = without;
    if (request.info)
        t->info = *request.info;
    tell_tracer(*t, self.tid, cld_trapped, request.code & 0x7f);
    while (t->stop != trace_stop::none)
        if (!t->resumed.wait_killable(process_tree_lock, "traced"))
            break;
    t->stop = trace_stop::none;
    if (t->tracer)
        trace_has_no_news(*t);
    if (request.info)
        *request.info = t->info;
    return signal_kill_pending(self) ? 0 : t->resume_signal;
}

// For what is not caused by a signal: with the siginfo that Linux has for it, as if the tracee had sent it.
int stop_for(thread& self, trace_stop kind, int signo, int code, uint64_t message = 0)
    REQUIRES(process_tree_lock) {
    linux_siginfo info = siginfo_by(*self.proc, signo, code);
    return stop(self, {kind, code, &info, message});
}

void call_stop(thread& self, trace_stop kind, uint64_t message) {
    int signo = 0;
    {
        lock_guard tree(process_tree_lock);
        if (const tracee* t = self.trace.get())
            signo = stop_for(self, kind, sigtrap,
                             sigtrap | (t->options & ptrace_o_tracesysgood ? 0x80 : 0), message);
    }
    if (signo)
        signal_send_thread(self, signo, nullptr);
}

} // namespace

int trace_signal(thread& self, int signo, linux_siginfo& info) {
    process& p = *self.proc;
    lock_guard tree(process_tree_lock);
    const int next = stop(self, {trace_stop::signal, signo, &info});
    if (next && next != info.signo) {
        const tracee* t = self.trace.get();
        info = siginfo_by(t ? *t->tracer->proc : p, next, si_user);
    }
    if (next && next != sigkill && (self.signals.own_mask() & sig_bit(next))) {
        (void)signal_queue_info(p, &self, next, info); // its tracer has blocked it
        return 0;
    }
    return next;
}

void trace_trap(thread& self) {
    process& p = *self.proc;
    lock_guard tree(process_tree_lock);
    bool with_process;
    {
        signal_guard guard(*p.handlers);
        self.signals.flags.fetch_and(~uint32_t{signal_flag_trap});
        with_process = p.signals.stopping;
    }
    tracee* const t = self.trace.get();
    if (!t)
        return;
    t->trap = false;
    const int signo = with_process ? p.stop_signo : t->seized ? sigtrap : sigstop;
    if (t->seized)
        stop_for(self, trace_stop::group, signo, signo | ptrace_event_stop << 8);
    else
        stop(self, {trace_stop::group, signo, nullptr});
}

void trace_step(thread& self) {
    lock_guard tree(process_tree_lock);
    stop_for(self, trace_stop::event, sigtrap, sigtrap);
}

bool trace_call_begins(thread& self, trap_frame& frame) {
    if (!(self.signals.traced & traced_calls))
        return true;
    frame.set_result(-int64_t(Errno::nosys));
    call_stop(self, trace_stop::call_entry, ptrace_syscall_entry);
    return !signal_kill_pending(self) && frame.is_syscall();
}

void trace_call_ends(thread& self, trap_frame& frame) {
    if (self.signals.traced & traced_calls)
        call_stop(self, trace_stop::call_exit, ptrace_syscall_exit);
    else if (self.signals.traced && self.machine.stepping)
        signal_force(self, sigtrap, trap_brkpt, frame.user_pc().value());
    self.machine.work_pending = true; // registers may be others
}

bool trace_debug_exception(thread& self) {
    if (!self.machine.stepping || self.signals.traced)
        return true;
    machine_set_stepping(self.machine, false);
    return false;
}

void trace_exec(thread& self, pid_t tid) {
    if (!self.signals.traced)
        return;
    trace_event(self, ptrace_event_exec, uint64_t(tid));
    {
        lock_guard tree(process_tree_lock);
        const tracee* const t = self.trace.get();
        if (!t || t->seized || wants_event(*t, ptrace_event_exec))
            return;
    }
    const linux_siginfo info = siginfo_by(*self.proc, sigtrap, si_user);
    signal_send_thread(self, sigtrap, &info);
}

int trace_event_of(thread& self, uint64_t flags, int exit_signal) {
    if (!self.signals.traced || (flags & clone_untraced))
        return 0;
    const int event = flags & clone_vfork      ? ptrace_event_vfork
                      : exit_signal != sigchld ? ptrace_event_clone
                                               : ptrace_event_fork;
    lock_guard tree(process_tree_lock);
    return self.trace && wants_event(*self.trace, event) ? event : 0;
}

void trace_event(thread& self, int event, uint64_t message) {
    if (!self.signals.traced || !event)
        return;
    lock_guard tree(process_tree_lock);
    if (self.trace && wants_event(*self.trace, event))
        stop_for(self, trace_stop::event, sigtrap, sigtrap | event << 8, message);
}

void trace_exit(thread& self, int status) {
    if (!self.signals.traced)
        return;
    {
        lock_guard tree(process_tree_lock);
        if (!self.trace || !wants_event(*self.trace, ptrace_event_exit))
            return;
        // What it dies of is no reason not to stop, but the next SIGKILL is.
        signal_guard guard(*self.proc->handlers);
        self.signals.flags.fetch_and(~uint32_t{signal_flag_kill});
        self.signals.traced |= traced_in_exit;
    }
    trace_event(self, ptrace_event_exit, uint64_t(uint32_t(status)));
}

void trace_child(thread& self, thread& child, ref_ptr<tracee> how) {
    const tracee* const like = self.trace.get();
    if (!like)
        return;
    how->options = like->options;
    how->seized = like->seized;
    how->by_root = like->by_root;
    trace_link(child, *like->tracer, std::move(how));
    signal_guard guard(*child.proc->handlers);
    if (like->seized) {
        signal_want_trap(*child.trace);
    } else {
        child.signals.pending.set |= sig_bit(sigstop);
        signal_recompute_locked(child);
    }
}

void trace_let_go(tracee& t) {
    thread* const of = t.traced;
    trace_unlink(t);
    if (!of)
        return;
    signal_guard guard(*of->proc->handlers);
    if (of->proc->signals.stopping)
        signal_notice(*of, signal_flag_stop);
}

void trace_want_stop(tracee& t) {
    signal_guard guard(*t.proc->handlers);
    signal_want_trap(t);
}

void trace_thread_ends(thread& self, int status) {
    process& p = *self.proc;
    const ref_ptr<tracee> t = self.trace;
    if (!t)
        return;
    if (self.tid == p.pid) {
        ASSERT(!p.end_traced);
        t->traced = nullptr;
        p.end_traced = std::move(self.trace);
        self.signals.traced = 0;
        return;
    }
    tell_end(*t, self.tid, status);
    while (t->stop == trace_stop::ended)
        t->resumed.wait(process_tree_lock, "traced");
}

bool trace_process_ends(process& p) {
    tracee* const t = p.end_traced.get();
    if (!t || t->tracer->proc.get() == p.parent)
        return false;
    tell_end(*t, p.pid, p.wait_status);
    return true;
}

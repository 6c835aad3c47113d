// What a traced thread does: it stops, tells its tracer, and goes on as that wants. Who traces whom:
// kernel/process/tracee.h; the call: kernel/lifecycle/ptrace.cc.
#pragma once

#include "kernel/process/process.h"
#include "kernel/process/trace_links.h"
#include "lib/no_alloc.h"

struct trap_frame;

// These are for the running thread; they return at once if it is not traced or is to die.

// Before a signal is delivered: which one is, 0 for none. `info` may be another afterwards.
NO_ALLOC int trace_signal(thread& self, int signo, linux_siginfo& info);
// With its process, or because the tracer wants it: takes signal_flag_trap.
NO_ALLOC void trace_trap(thread& self);
// SIGTRAP without any cause but that its tracer wants to know: a step onto a handler.
NO_ALLOC void trace_step(thread& self);
// Around a system call. False: it is not to be made.
bool trace_call_begins(thread& self, trap_frame& frame);
void trace_call_ends(thread& self, trap_frame& frame);
// A debug exception; false: it is the tracer's affair, who has gone.
bool trace_debug_exception(thread& self);
// A new program runs; the thread was `tid` before.
void trace_exec(thread& self, pid_t tid);
// The event of a call that makes a child, with clone's flags: PTRACE_EVENT_*; 0: none that its
// tracer wants to hear of.
int trace_event_of(thread& self, uint64_t flags, int exit_signal);
// An event, if its tracer wants to hear of it.
void trace_event(thread& self, int event, uint64_t message);
// The thread ends with `status`. A tracer who wants to hear of it sees it as it was; SIGKILL ends
// that stop, too.
NO_ALLOC void trace_exit(thread& self, int status);

// Of others.

// Its tracer has let go of it: if its process has stopped, it stops with that.
void trace_let_go(tracee& t) REQUIRES(process_tree_lock);
// It is to stop soon.
void trace_want_stop(tracee& t) REQUIRES(process_tree_lock);
// The tracer of the running thread traces `child`, which has not run yet, likewise, by `how`; it
// stops before it does anything.
void trace_child(thread& self, thread& child, ref_ptr<tracee> how) REQUIRES(process_tree_lock);
// The thread leaves its process, with `status`. The first one leaves its end to that; another waits
// here until its tracer has waited for it.
void trace_thread_ends(thread& self, int status) REQUIRES(process_tree_lock);
// The process is a zombie. True: its tracer, who is not in the parent's process, hears of it first.
bool trace_process_ends(process& p) REQUIRES(process_tree_lock);

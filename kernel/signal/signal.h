// Signals: sending, masks, and what happens on the way to user mode. What a thread and a process
// hold of them, and the lock that guards it: kernel/process/signal_state.h.
#pragma once

#include "kernel/process/process_tree.h"
#include "kernel/process/signal_state.h"
#include "lib/no_alloc.h"

struct thread;
struct process;
struct trap_frame;

// Sends, by a thread: what an interrupt sends is deferred (timer_call). `info` may be null
// (SI_KERNEL). Ignored signals are discarded, SIGCONT and stops cancel each other, sleepers are
// woken. Never fails for want of memory (the info is lost then, as on Linux). The caller holds no
// lock of a higher rank than process_tree_lock; a zombie target is left alone.
NO_ALLOC void signal_send_process(process& target, int signo, const linux_siginfo* info)
    EXCLUDES(process_tree_lock);
NO_ALLOC void signal_send_process_locked(process& target, int signo, const linux_siginfo* info)
    REQUIRES(process_tree_lock);
NO_ALLOC void signal_send_thread(thread& target, int signo, const linux_siginfo* info)
    EXCLUDES(process_tree_lock);
// The same to all members of a process group, if there is such a one; may sleep, no locks held.
NO_ALLOC void signal_send_group(pid_t group, int signo, const linux_siginfo* info);
// A signal that the running thread caused (a fault): delivered even if blocked or ignored (then it
// kills).
NO_ALLOC void signal_force(thread& self, int signo, int32_t code, uint64_t address);

// The same for rt_sigqueueinfo and timers: EAGAIN when the queue is full (RLIMIT_SIGPENDING, or no
// memory) and the info would be lost. `to_thread` may be null: the process.
NO_ALLOC status signal_queue_info(process& target, thread* to_thread, int signo,
                                  const linux_siginfo& info) REQUIRES(process_tree_lock);

// A timer's signal, whose entry is the timer's own: to a thread, or to the process if `to_thread`
// is null. Nothing if that has ended.
NO_ALLOC void signal_send_entry(process& target, thread* to_thread, pending_signal& entry)
    REQUIRES(process_tree_lock);
// Takes it back, if it is pending.
NO_ALLOC void signal_drop_entry(process& target, thread* to_thread, pending_signal& entry)
    EXCLUDES(process_tree_lock);

// Begins the end of a process: every thread but `survivor` (null for exit_group; the caller for
// exec) leaves through thread_exit(p.group_exit_status) at its next return to user mode, sleepers
// are woken. False when somebody else has begun already, and then nothing has changed. No locks
// held.
NO_ALLOC bool signal_begin_exit(process& p, thread* survivor, int wait_status)
    EXCLUDES(process_tree_lock);
// exec, once the other threads have gone: the process goes on living.
void signal_end_exec(process& p);
// thread_exit calls this for the running thread, before it leaves process::threads, without locks:
// a group stop does not wait for it any more, and signals that it alone was woken for find another
// thread.
NO_ALLOC void signal_thread_exiting(thread& self);

// What a parent's SIGCHLD action says to exit.cc and wait.cc. Any lock of a lower rank may be held.
bool signal_parent_discards_children(process& parent); // SIG_IGN or SA_NOCLDWAIT: no zombies
bool signal_parent_ignores_stops(process& parent);     // SIG_IGN or SA_NOCLDSTOP
// Whether `signo` would have no effect on `self`: blocked, held or ignored (for SIGTTIN and
// SIGTTOU).
bool signal_blocked_or_ignored(thread& self, int signo);

// Whether signal_deliver has something to do before the return to user mode through `frame`.
// Without locks.
bool signal_work(thread& self, const trap_frame& frame);
// Whether the frame's system call has ended with a restart code, which no program is to see.
bool call_interrupted(const trap_frame& frame);
// Called before every return to user mode while signal_work() says so: takes the next signal,
// stops, kills (does not return) or builds the handler's frame and redirects `frame`; handles
// restarts of interrupted calls.
NO_ALLOC void signal_deliver(thread& self, trap_frame& frame);
// Recomputes thread.machine.work_pending after a mask change.
NO_ALLOC void signal_recompute(thread& self);
// A vfork child has let go of the address space: it takes the stop signals that were held back.
NO_ALLOC void signal_release_held(thread& self);
// Sets the mask of the running thread (never blocks SIGKILL, SIGSTOP).
NO_ALLOC void signal_set_mask(thread& self, sigset mask);
// For sigsuspend, ppoll, pselect: mask until the return to user mode, when the old one comes back
// (after the handler's frame remembers it).
void signal_set_temporary_mask(thread& self, sigset mask);

// What the files of the signal code share: signal.cc (sending and masks), signal_deliver.cc (what
// happens on the way to user mode) and sys_signal.cc (the system calls).
#pragma once

#include "kernel/process/process.h"
#include "kernel/process/thread.h"

inline constexpr sigset signals_unblockable =
    sig_bit(linux_abi::sigkill) | sig_bit(linux_abi::sigstop);
inline constexpr sigset signals_that_stop =
    sig_bit(linux_abi::sigstop) | sig_bit(linux_abi::sigtstp) | sig_bit(linux_abi::sigttin) |
    sig_bit(linux_abi::sigttou);
// From the terminal. They wait while a vfork child has its parent's address space (NetBSD's
// vfork(2)).
inline constexpr sigset signals_that_stop_from_terminal =
    signals_that_stop & ~sig_bit(linux_abi::sigstop);
inline constexpr sigset signals_ignored_by_default =
    sig_bit(linux_abi::sigchld) | sig_bit(linux_abi::sigcont) | sig_bit(linux_abi::sigurg) |
    sig_bit(linux_abi::sigwinch);
// Caused by the instruction that the thread is at: taken before all others.
inline constexpr sigset signals_of_faults =
    sig_bit(linux_abi::sigsegv) | sig_bit(linux_abi::sigbus) | sig_bit(linux_abi::sigill) |
    sig_bit(linux_abi::sigtrap) | sig_bit(linux_abi::sigfpe) | sig_bit(linux_abi::sigsys);
inline constexpr int signal_first_real_time = 32; // from here on signals queue

// Init gets only the signals that it handles, and the faults that it causes.
inline bool signal_protected(const process& p) { return &p == init_process; }

// Takes one `signo` from `queue`, a queue of `p` or of one of its threads: the oldest.
void signal_take(process& p, signal_queue& queue, int signo, linux_siginfo& info)
    REQUIRES(signal_lock);
// Drops the signals in `which` from one queue, or from all of the process.
void signal_flush(process& p, signal_queue& queue, sigset which) REQUIRES(signal_lock);
void signal_flush_all(process& p, sigset which) REQUIRES(process_tree_lock, signal_lock);
// Takes one of `wanted` that is pending for `self`, the running thread: its number, 0 if there is
// none.
int signal_take_one_of(thread& self, sigset wanted, linux_siginfo& info) REQUIRES(signal_lock);
// The running thread parks, or ends: a stop does not wait for it any more. Tells the parent if it
// was the last.
void signal_stop_counted(thread& self) EXCLUDES(process_tree_lock);
void signal_recompute_locked(thread& t) REQUIRES(signal_lock);
// As `p` would have sent it.
linux_siginfo siginfo_by(process& p, int signo, int32_t code);
// A bit of thread_signals::traced: it stops on its way out (trace_exit), and SIGKILL is still for it.
inline constexpr uint8_t traced_in_exit = 4;
// Whether `t` is to park with its process: a tracer may let one go on that has.
bool signal_must_park(const thread& t) REQUIRES(signal_lock);
// A tracee is to stop, or if it listens, to say so.
void signal_want_trap(tracee& t) REQUIRES(process_tree_lock, signal_lock);
// Sets `flags` in those of `t` and brings it to notice.
void signal_notice(thread& t, uint32_t flags) REQUIRES(signal_lock);
// The signals that `self` could take now.
sigset signal_ready(const thread& self) REQUIRES(signal_lock);

// sigaltstack's rules, for the running thread with its stack pointer at `sp`: EPERM EINVAL ENOMEM.
status signal_set_alt_stack(thread& self, const linux_stack& wanted, uint64_t sp);
bool signal_on_alt_stack(const linux_stack& stack, uint64_t sp);

// ---- What signal.cc tells timers of their signals ----------------------------------------------
//
// They know signals, which they send, and lie above them: kernel/time/posix_timers.cc and itimer.cc.

// It has been taken, or dropped; adds the overrun to `info` and sets a periodic timer again.
void posix_timer_signal_taken(posix_timer& t, linux_siginfo& info) REQUIRES(signal_lock);
// It has fired again while its signal was pending.
void posix_timer_signal_pending_yet(posix_timer& t) REQUIRES(signal_lock);
// It is ignored.
void posix_timer_signal_ignored(posix_timer& t) REQUIRES(signal_lock);
// A SIGALRM of the whole process has been taken, the timer's or another, which sets a periodic
// ITIMER_REAL again.
void itimer_signal_taken(process& p) REQUIRES(signal_lock);

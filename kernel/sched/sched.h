// The scheduler: a run queue per CPU, round robin, preemptive in user mode.
//
// A thread is switched away from only by its own call (a sleep, thread_yield, sched_exit): kernel
// code is never preempted. Whoever makes a thread runnable puts it on one CPU's queue; a CPU runs
// what is on its own queue and, before it goes idle, takes from others'. How it is excluded that a
// thread runs on two CPUs, and that a wake-up is lost, is told at the top of kernel/sched/sched.cc.
#pragma once

#include "lib/no_alloc.h"
#include "lib/types.h"
#include "lib/wait_queue.h"

#include <cstdint>

struct thread;
class spin_lock;

// Makes `t` runnable for the first time. Chooses a CPU: the caller's, or an idle one that it may
// run on. Any context.
void sched_make_runnable(thread& t);
// Gives up the CPU; the running thread stays runnable.
NO_ALLOC void thread_yield();
// Leaves the CPU for good: state is dead. The thread that runs next drops the reference that the
// scheduler had.
[[noreturn]] void sched_exit();
// Whether the running thread should yield before it returns to user mode (slice used up, or
// something was queued).
bool sched_should_yield();
// Sleeps uninterruptibly until the deadline, for the kernel.
void sched_sleep_until(nanos_t deadline);

[[noreturn]] void sched_start(); // becomes this CPU's idle thread

// The two halves of a sleep, for wait_queue and whatever else puts threads to sleep. Between them
// the caller releases the lock under which others find the thread to wake it:
//     sched_prepare_to_sleep(kind, why); guard.unlock(); sched_sleep();
// The sleep may end without a cause: the caller tests its condition and sleeps again.
void sched_prepare_to_sleep(sleep_kind kind, const char* why);
NO_ALLOC void sched_sleep();
// Ends `t`'s sleep; nothing if it is not asleep. The caller knows that `t` exists. Any context.
NO_ALLOC void sched_wake(thread& t);
// After a signal was made pending for `t` and t.machine.work_pending set: ends its sleep if it is
// one that the signal ends (`kills`: the signal is fatal), and makes the CPU look on which it runs
// in user mode. Any context.
NO_ALLOC void sched_signal(thread& t, bool kills);
// After t.machine.work_pending was set: if `t` is in user mode it comes into the kernel soon. Any
// context.
void sched_bring_to_kernel(thread& t);
// After t.allowed_cpus has changed: moves it if it must.
void sched_affinity_changed(thread& t);

// For the watchdog, on the calling CPU with interrupts off. Makes what runs in the kernel come
// through the scheduler by its next long_work::pause() or return to user mode, also if nobody else
// wants to run; whether that was asked before, in vain.
bool sched_ask_this_cpu();
// The first in the CPU's queue: its tid, 0 for none, and how often it has run.
struct sched_waiting {
    pid_t tid = 0;
    uint64_t switches = 0;
};
sched_waiting sched_first_waiting();

// At this moment.
struct sched_statistics {
    uint64_t switches;
    unsigned runnable, threads;
    nanos_t idle_time[16];
};
sched_statistics sched_get_statistics();

// For fork.cc and kernel_thread.cc: the first thing that a new thread does on its own
// stack.
void sched_first_run();

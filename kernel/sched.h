// The scheduler: a run queue per CPU, round robin, preemptive in user mode.
#pragma once

#include "lib/types.h"

struct thread;

// Makes `t` runnable: new, or woken. Chooses a CPU: its last one, or an idle one that it may run on. Any context.
void sched_make_runnable(thread& t);
// A signal for `t` (its signal_flags are set already): ends its sleep if it sleeps in wait_interruptible, or, when
// `kill`, in wait_killable; if it runs in user mode elsewhere, interrupts that CPU. Any context; signal lock held.
void sched_interrupt(thread& t, bool kill);
// Gives up the CPU; the running thread stays runnable.
void thread_yield();
// Leaves the CPU for good: state is dead. The next thread drops the reference that the scheduler had.
[[noreturn]] void sched_exit();
// Whether the running thread should yield before it returns to user mode (slice used up, or something was queued).
bool sched_should_yield();
// Sleeps without a queue until the deadline, or until a signal (intr).
class sleep_timer;
void sched_sleep_until(nanos_t deadline); // uninterruptible, for the kernel

[[noreturn]] void sched_start(); // becomes this CPU's idle thread
// Loads (for /proc/loadavg) and counts.
struct sched_statistics {
    uint64_t switches;
    unsigned runnable, threads;
    nanos_t idle_time[16];
    uint64_t load[3]; // fixed point, 16 fractional bits
};
sched_statistics sched_get_statistics();

// A function called at a time, from the timer interrupt: itimers, sleeps, poll time-outs. Owner's storage.
class timer_event {
public:
    // `fire(context)` runs with interrupts off; it may set() the event again.
    void set(nanos_t deadline, void (*fire)(void*), void* context);
    // After this the function is not running and will not run.
    void cancel();
    bool armed() const;

    struct implementation {
        void* heap_links[3] = {};
        nanos_t deadline = 0;
        void (*fire)(void*) = nullptr;
        void* context = nullptr;
        unsigned cpu = 0;
        int state = 0;
    } impl;
};

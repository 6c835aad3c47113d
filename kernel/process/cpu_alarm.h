// A clock of used processor time, and an alarm on it. What they are for: kernel/time/cpu_clock.h.
#pragma once

#include "lib/list.h"
#include "lib/ref_ptr.h"
#include "lib/types.h"

struct process;
struct thread;

// A clock as a program names it: CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, or a number
// with a process or thread id and a kind in it (clock_getcpuclockid).
struct cpu_clock {
    ref_ptr<process> of;
    ref_ptr<thread> only; // null: the whole process
    bool user_only = false;
    bool exact = true; // counts nanoseconds; else Linux's ticks, says clock_getres

    nanos_t now() const;
};

// What is to happen when such a clock comes to a time.
struct cpu_alarm {
    const thread* only = nullptr; // whose clock; null: the process's. The owner keeps it alive
    bool user_only = false;       // time in user mode
    // Called under process_tree_lock with the time that the clock shows. Returns when next, or
    // forever. May send signals, and set or cancel no alarm.
    nanos_t (*fire)(cpu_alarm&, nanos_t time) = nullptr;
    void* context = nullptr; // for `fire`

    nanos_t at = forever; // under process_tree_lock
    list_node of_process; // linked while it is set
};

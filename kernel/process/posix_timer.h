// A timer of a process that sends a signal: timer_create(2). What sets and deletes them:
// kernel/time/posix_timers.h.
#pragma once

#include "kernel/process/cpu_alarm.h"
#include "kernel/process/process_tree.h"
#include "kernel/process/signal_state.h"
#include "kernel/sched/timer.h"
#include "lib/avl_tree.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"

// A timer has one signal, which is pending or not. A periodic timer is set again when its signal is
// taken, and the periods that have passed meanwhile are its overrun: however short the period, a
// slow program has one signal to handle. While the signal is ignored it rests. Owned by its
// process.
struct posix_timer {
    avl_node of_process GUARD_UNCHECKED(posix_timers::lock);
    process* owner CONSTANT_ONCE_SHARED = nullptr; // outlives it
    // SIGEV_THREAD_ID: the thread that gets the signal.
    ref_ptr<thread> target GUARD_UNCHECKED(posix_timers::lock);
    // Not SIGEV_NONE, and the target has not ended.
    bool signals GUARD_UNCHECKED(posix_timers::lock) = true;
    int id CONSTANT_ONCE_SHARED = 0;
    int32_t clock CONSTANT_ONCE_SHARED = 0;
    pending_signal entry GUARD_UNCHECKED(signal_lock);
    // If `clock` is one of used processor time; cpu.of null: it is not.
    cpu_clock cpu CONSTANT_ONCE_SHARED;
    cpu_alarm alarm GUARDED_BY(process_tree_lock); // on it, in place of the event

    spin_lock lock{lock_rank::wait, "posix_timer"};
    bool armed GUARDED_BY(lock) = false;   // the event is set, and counts
    bool rests GUARDED_BY(lock) = false;   // periodic, and its signal was ignored when it was due
    nanos_t deadline GUARDED_BY(lock) = 0; // the next or, while the signal is pending, the last one
    // What `deadline` is on, but for used time: the wall clock, if it is one of its times.
    timer_clock runs_on GUARDED_BY(lock) = timer_clock::boot;
    nanos_t interval GUARDED_BY(lock) = 0;   // 0: once
    int overrun GUARDED_BY(lock) = 0;        // of the signal that was taken last
    int periods_missed GUARDED_BY(lock) = 0; // by used time, since then
    timer_event event{timer_call::deferred};
};

// Those of a process.
struct posix_timers {
    sleep_lock lock{lock_rank::itimer, "posix timers"};
    avl_tree<posix_timer, &posix_timer::of_process> all GUARDED_BY(lock); // by id
    int next_id GUARDED_BY(lock) = 0;
};

// A timer of a process that sends a signal: timer_create(2). What sets and deletes them:
// kernel/time/posix_timers.h.
#pragma once

#include "kernel/process/cpu_alarm.h"
#include "kernel/process/signal_state.h"
#include "kernel/sched/sched.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"

// A timer has one signal, which is pending or not. A periodic timer is set again when its signal is
// taken, and the periods that have passed meanwhile are its overrun: however short the period, a
// slow program has one signal to handle. While the signal is ignored it rests. Owned by its
// process's list.
struct posix_timer {
    list_node of_process;
    process* owner = nullptr; // outlives it
    // Under posix_timers::lock.
    ref_ptr<thread> target; // SIGEV_THREAD_ID: the thread that gets the signal
    bool signals = true;    // not SIGEV_NONE, and the target has not ended
    int id = 0;
    int32_t clock = 0;
    pending_signal entry;
    cpu_clock cpu;   // if `clock` is one of used processor time; cpu.of null: it is not
    cpu_alarm alarm; // on it, in place of the event; under process_tree_lock

    spin_lock lock{lock_rank::wait, "posix_timer"};
    bool armed GUARDED_BY(lock) = false;   // the event is set, and counts
    bool rests GUARDED_BY(lock) = false;   // periodic, and its signal was ignored when it was due
    nanos_t deadline GUARDED_BY(lock) = 0; // the next or, while the signal is pending, the last one
    // What `deadline` is on, but for used time: the wall clock, if it is one of its times.
    timer_clock runs_on GUARDED_BY(lock) = timer_clock::boot;
    nanos_t interval GUARDED_BY(lock) = 0;   // 0: once
    int overrun GUARDED_BY(lock) = 0;        // of the signal that was taken last
    int periods_missed GUARDED_BY(lock) = 0; // by used time, since then
    timer_event event;
};

// Those of a process.
struct posix_timers {
    sleep_lock lock{lock_rank::itimer, "posix timers"};
    list<posix_timer, &posix_timer::of_process> all GUARDED_BY(lock);
    int next_id GUARDED_BY(lock) = 0;
};

// Timers of a process that send signals: timer_create(2) and its kin. exec and the end of the
// process delete them; fork does not copy them.
#pragma once

#include "kernel/process/cpu_alarm.h"
#include "kernel/sched/sched.h"
#include "kernel/signal/signal.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"

// Linux's struct sigevent, x86-64.
struct linux_sigevent {
    uint64_t value;
    int32_t signo, notify;
    int32_t tid; // SIGEV_THREAD_ID
    int32_t pad[11];
};
static_assert(sizeof(linux_sigevent) == 64);

// A timer has one signal, which is pending or not. A periodic timer is set again when its signal is
// taken, and the periods that have passed meanwhile are its overrun: however short the period, a
// slow program has one signal to handle. While the signal is ignored it rests. Owned by its
// process's list.
struct posix_timer {
    list_node of_process;
    process* owner = nullptr; // outlives it
    // Under process::posix_timers_lock.
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

// signal.cc: the timer's signal has been taken, or dropped; adds the overrun to `info` and sets a
// periodic timer again. Caller holds the handlers' lock.
void posix_timer_signal_taken(posix_timer& t, linux_siginfo& info);
// signal.cc: it has fired again while its signal was pending. Caller holds the handlers' lock.
void posix_timer_signal_pending_yet(posix_timer& t);
// signal.cc: its signal is ignored. Caller holds the handlers' lock.
void posix_timer_signal_ignored(posix_timer& t);
// sys_signal.cc: the running process does not ignore the signal any more: its timers go on. May
// sleep.
void posix_timers_go_on(process& p, int signo);
// thread_exit: the timers for the running thread, which gets no signals any more, send none. May
// sleep.
void posix_timers_thread_exiting(thread& self);
// Deletes all timers of a process. May sleep.
void posix_timers_delete(process& p);

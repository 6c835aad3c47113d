// Timers of a process that send signals: timer_create(2) and its kin. exec and the end of the
// process delete them; fork does not copy them.
#pragma once

#include "kernel/process/posix_timer.h"

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

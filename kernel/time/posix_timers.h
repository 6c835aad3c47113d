// Timers of a process that send signals: timer_create(2) and its kin. exec and the end of the
// process delete them; fork does not copy them.
#pragma once

#include "kernel/process/posix_timer.h"

// sys_signal.cc: the running process does not ignore the signal any more: its timers go on. May
// sleep.
void posix_timers_go_on(process& p, int signo);
// thread_exit: the timers for the running thread, which gets no signals any more, send none. May
// sleep.
void posix_timers_thread_exiting(thread& self);
// Deletes all timers of a process. May sleep.
void posix_timers_delete(process& p);

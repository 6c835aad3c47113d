// The interval timers of a process: ITIMER_REAL, which alarm(2) sets too, and ITIMER_VIRTUAL and
// ITIMER_PROF on its clocks of used processor time. exec keeps them, fork does not copy them.
#pragma once

struct process;

// exit.cc calls this when the last thread of `p` ends: the timer is stopped and given back. May
// sleep.
void itimer_process_exiting(process& p);

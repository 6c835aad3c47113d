// The interval timer of a process: ITIMER_REAL, which alarm(2) sets too. exec keeps it, fork does
// not copy it.
#pragma once

struct process;

// exit.cc calls this when the last thread of `p` ends: the timer is stopped and given back. May
// sleep.
void itimer_process_exiting(process& p);

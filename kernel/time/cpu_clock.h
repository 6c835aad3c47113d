// Clocks of used processor time: of a thread, or of all threads of a process that there are and
// were. And alarms, which do something when such a clock comes to a time: RLIMIT_CPU,
// ITIMER_VIRTUAL and ITIMER_PROF, timer_create and clock_nanosleep on these clocks.
#pragma once

#include "kernel/process/process.h"

// Whether `id` names such a clock, be there a process for it or not.
bool is_cpu_clock(int32_t id);
// EINVAL: no such process, or a thread of another process. For clock_gettime (`reading`) a thread's
// own id stands for its process.
expected<cpu_clock> cpu_clock_find(int32_t id, bool reading = false);

// Whether its process has not been waited for yet, or its thread has not ended.
bool cpu_clock_goes_on(const cpu_clock& clock);

// Time used by `only`, or by all of `p` if that is null. What a running thread has used in user
// mode alone counts up to when it came into the kernel last.
nanos_t cpu_time(process& p, const thread* only, bool user_only) REQUIRES(process_tree_lock);

// Sets `a` on a clock of `p`, or sets it anew. Its fields are the caller's to fill in, and it is to
// stay where it is until it has been cancelled or has fired for the last time.
void cpu_alarm_set(process& p, cpu_alarm& a, nanos_t at) REQUIRES(process_tree_lock);
void cpu_alarm_cancel(process& p, cpu_alarm& a) REQUIRES(process_tree_lock);

// RLIMIT_CPU has changed, or was inherited.
void cpu_limit_changed(process& p) REQUIRES(process_tree_lock);

// On the way to user mode with something to do, signal_flag_clock perhaps, and before a signal is
// taken in a call: lets the alarms fire that are due. So what a timer has missed is what has passed
// until its signal is taken, and not until an event had the thread look.
void cpu_alarms_check(thread& self) EXCLUDES(process_tree_lock);
// The last thread of `p` is about to go.
void cpu_alarms_process_exiting(process& p);

// clock_nanosleep: until `clock` shows `at`. intr.
status cpu_clock_sleep(const cpu_clock& clock, nanos_t at);

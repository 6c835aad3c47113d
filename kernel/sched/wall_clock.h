// The wall clock, as clock_settime may have changed it, and moments by it.
#pragma once

#include "kernel/abi/arguments.h"
#include "kernel/sched/timer.h"
#include "lib/result.h"
#include "lib/types.h"

#include <cstdint>

// CLOCK_REALTIME: nanoseconds since 1970.
nanos_t wall_clock();
// `duration` after `time`, as far as times can be told; not forever.
nanos_t deadline_after(nanos_t duration, nanos_t time);
// What a clock shows that deadlines can be on.
nanos_t time_on(timer_clock clock);

// When something is to happen.
struct moment {
    nanos_t time = forever;
    timer_clock clock = timer_clock::boot;
};

linux_timespec to_timespec(nanos_t t);
// EINVAL unless it is normalised. Times too far away to count in nanoseconds become the last ones
// that can be.
expected<nanos_t> from_timespec(const linux_timespec& t);
// The clock that moments of `id` are on. EINVAL if it does not go with time.
expected<timer_clock> clock_for_timers(int32_t id);
// A time of clock `id`, or, if it is not absolute, from now on: that does not move when the wall
// clock is set. EINVAL.
expected<moment> moment_of(int32_t id, bool absolute, nanos_t time);

// timerfd.cc: the wall clock was set.
void timerfd_clock_was_set();

// The wall clock, as clock_settime may have changed it.
#pragma once

#include "lib/result.h"
#include "lib/types.h"

#include <cstdint>

struct linux_timespec;

// CLOCK_REALTIME: nanoseconds since 1970.
nanos_t wall_clock();

linux_timespec to_timespec(nanos_t t);
// EINVAL unless it is normalised. Times too far away to count in nanoseconds become the last ones
// that can be.
expected<nanos_t> from_timespec(const linux_timespec& t);
// What has to be added to now() for a clock that goes with time: timers run on these. EINVAL.
expected<nanos_t> clock_offset(int32_t clock);
// The moment, by now(), at which `clock` shows `time`.
nanos_t deadline_at(nanos_t time, nanos_t offset);

#include "kernel/sched/wall_clock.h"

#include "arch/timer.h"
#include "kernel/abi/clocks.h"

#include <algorithm>

using namespace linux_abi;

nanos_t deadline_after(nanos_t duration, nanos_t time) {
    return time + duration < time ? forever - 1 : time + duration;
}

linux_timespec to_timespec(nanos_t t) {
    return {int64_t(t / nanos_per_second), int64_t(t % nanos_per_second)};
}

expected<nanos_t> from_timespec(const linux_timespec& t) {
    if (t.sec < 0 || t.nsec < 0 || t.nsec >= int64_t(nanos_per_second))
        return fail(Errno::inval);
    constexpr int64_t far = INT64_MAX / int64_t(nanos_per_second) - 1;
    return nanos_t(std::min(t.sec, far)) * nanos_per_second + nanos_t(t.nsec);
}

expected<timer_clock> clock_for_timers(int32_t id) {
    switch (id) {
    case clock_realtime: return timer_clock::wall;
    case clock_monotonic:
    case clock_boottime: return timer_clock::boot;
    default: return fail(Errno::inval);
    }
}

expected<moment> moment_of(int32_t id, bool absolute, nanos_t time) {
    const timer_clock clock = TRY(clock_for_timers(id));
    if (absolute)
        return moment{time, clock};
    return moment{deadline_after(time, now()), timer_clock::boot};
}

nanos_t time_on(timer_clock clock) { return clock == timer_clock::wall ? wall_clock() : now(); }

nanos_t wall_clock() { return now() + wall_clock_offset(); }

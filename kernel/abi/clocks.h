// The clocks that programs name, and their timers: Linux's numbers.
#pragma once

#include <cstdint>

namespace linux_abi {

enum : int32_t {
    clock_realtime,
    clock_monotonic,
    clock_process_cputime, // these two and their kin: kernel/time/cpu_clock.cc
    clock_thread_cputime,
    clock_monotonic_raw,
    clock_realtime_coarse,
    clock_monotonic_coarse,
    clock_boottime,
};
enum : uint32_t { timer_abstime = 1 }; // of timer_settime and clock_nanosleep
enum : int32_t { itimer_real = 0, itimer_virtual = 1, itimer_prof = 2 };

} // namespace linux_abi

// The clocks that programs name: Linux's numbers.
#pragma once

#include <cstdint>

enum : int32_t {
    CLOCK_REALTIME_,
    CLOCK_MONOTONIC_,
    CLOCK_PROCESS_CPUTIME_, // these two and their kin: kernel/time/cpu_clock.cc
    CLOCK_THREAD_CPUTIME_,
    CLOCK_MONOTONIC_RAW_,
    CLOCK_REALTIME_COARSE_,
    CLOCK_MONOTONIC_COARSE_,
    CLOCK_BOOTTIME_,
};

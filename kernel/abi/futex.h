// futex(2)'s operations: Linux's numbers.
#pragma once

#include <cstdint>

namespace linux_abi {

enum : uint32_t {
    futex_wait = 0,
    futex_wake = 1,
    futex_requeue = 3,
    futex_cmp_requeue = 4,
    futex_wake_op = 5,
    futex_wait_bitset = 9,
    futex_wake_bitset = 10,
    futex_private = 128,
    futex_clock_realtime = 256,
};

} // namespace linux_abi

// Failure injection by a program that tests the kernel (/proc/sys/vm/fail_allocation): as
// alloc_fail_after() of pool.h, for several threads that know nothing of each other.
#pragma once

#include <cstdint>

// The n-th allocation from now on by the calling thread fails; 0: none. False when another thread
// has a failure pending: nothing has changed.
bool alloc_fail_try(uint64_t n);
// How many are still to come; 0 when none is pending for the calling thread.
uint64_t alloc_fail_pending();

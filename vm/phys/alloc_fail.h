// Failure injection by a program that tests the kernel (/proc/sys/vm/fail_allocation): as
// alloc_fail_after() of pool.h, for several threads that know nothing of each other.
#pragma once

#include <cstdint>

// The n-th allocation from now on by the calling thread fails; 0: none. False when another thread
// has a failure pending: nothing has changed.
bool alloc_fail_try(uint64_t n);
// Whether the failure that the calling thread had pending last has come to pass. It says so once.
bool alloc_fail_struck();
// How many are still to come; 0 when none is pending for the calling thread.
uint64_t alloc_fail_pending();

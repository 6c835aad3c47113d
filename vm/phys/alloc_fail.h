// Failure injection.
#pragma once

#include <atomic>
#include <cstdint>

// For tests: the n-th allocation from now (pages, pools, kmem) by the calling
// thread fails (n = 1: the next); 0 turns it off. Returns how many were still to come.
uint64_t alloc_fail_after(uint64_t n);

// By a program that tests the kernel (/proc/sys/vm/fail_allocation): as alloc_fail_after(), for
// several threads that know nothing of each other.
//
// The n-th allocation from now on by the calling thread fails; 0: none. False when another thread
// has a failure pending: nothing has changed.
bool alloc_fail_try(uint64_t n);
// Whether the failure that the calling thread had pending last has come to pass. It says so once.
bool alloc_fail_struck();
// How many are still to come; 0 when none is pending for the calling thread.
uint64_t alloc_fail_pending();

// Asked by every allocator: whether this is the one that fails.
bool alloc_should_fail();

// ---- What that costs those that do not fail

extern std::atomic<bool> alloc_fail_armed;
bool alloc_fail_this_one();
inline bool alloc_should_fail() {
    return alloc_fail_armed.load(std::memory_order_relaxed) && alloc_fail_this_one();
}

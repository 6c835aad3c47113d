// Failure injection. One thread at a time may have a failure pending; the others, and interrupt
// handlers on other CPUs, allocate undisturbed.
#include "arch/cpu.h"
#include "lib/assert.h"
#include "vm/pool.h"

constinit std::atomic<bool> alloc_fail_armed{false};

namespace {

// Written by the victim alone; armed is what others see.
constinit std::atomic<thread*> victim{nullptr};
constinit uint64_t remaining = 0;

} // namespace

uint64_t alloc_fail_after(uint64_t n) {
    thread* me = cpu::current();
    uint64_t before = 0;
    if (alloc_fail_armed.load(std::memory_order_acquire)) {
        ASSERT(victim.load(std::memory_order_relaxed) == me);
        before = remaining;
        alloc_fail_armed.store(false, std::memory_order_relaxed);
    }
    if (n != 0) {
        victim.store(me, std::memory_order_relaxed);
        remaining = n;
        alloc_fail_armed.store(true, std::memory_order_release);
    }
    return before;
}

bool alloc_fail_this_one() {
    if (victim.load(std::memory_order_relaxed) != cpu::current())
        return false;
    if (--remaining != 0)
        return false;
    alloc_fail_armed.store(false, std::memory_order_release);
    return true;
}

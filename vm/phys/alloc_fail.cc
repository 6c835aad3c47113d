// Failure injection. One thread at a time may have a failure pending; the others, and interrupt
// handlers on other CPUs, allocate undisturbed.
#include "vm/phys/alloc_fail.h"

#include "arch/cpu.h"
#include "lib/assert.h"

constinit std::atomic<bool> alloc_fail_armed{false};

namespace {

// The thread whose failure is pending, or null. It alone looks at `remaining`.
constinit std::atomic<thread*> victim{nullptr};
constinit uint64_t remaining = 0;
// The last whose failure has come to pass.
constinit std::atomic<const thread*> struck{nullptr};

// Takes what is pending for the calling thread away; returns how many were still to come.
uint64_t disarm() {
    if (victim.load(std::memory_order_relaxed) != cpu::current())
        return 0;
    alloc_fail_armed.store(false, std::memory_order_relaxed);
    uint64_t before = remaining;
    victim.store(nullptr, std::memory_order_release);
    return before;
}

} // namespace

uint64_t alloc_fail_after(uint64_t n) {
    uint64_t before = disarm();
    [[maybe_unused]] bool alone = alloc_fail_try(n);
    ASSERT(alone);
    return before;
}

bool alloc_fail_try(uint64_t n) {
    (void)disarm();
    (void)alloc_fail_struck();
    if (n == 0)
        return true;
    thread* nobody = nullptr;
    if (!victim.compare_exchange_strong(nobody, cpu::current(), std::memory_order_acquire))
        return false;
    remaining = n;
    alloc_fail_armed.store(true, std::memory_order_release);
    return true;
}

uint64_t alloc_fail_pending() {
    return victim.load(std::memory_order_relaxed) == cpu::current() ? remaining : 0;
}

bool alloc_fail_this_one() {
    if (victim.load(std::memory_order_relaxed) != cpu::current())
        return false;
    if (--remaining != 0)
        return false;
    (void)disarm();
    struck.store(cpu::current(), std::memory_order_relaxed);
    return true;
}

bool alloc_fail_struck() {
    const thread* self = cpu::current();
    return struck.compare_exchange_strong(self, nullptr, std::memory_order_relaxed);
}

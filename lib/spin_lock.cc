#include "arch/cpu.h"
#include "lib/assert.h"
#include "lib/lock.h"
#include "lib/lock_watch.h"

// Kept out of line, so that the usual case saves no registers for it.
[[gnu::noinline, gnu::cold]] void spin_lock::wait_for_release(uint32_t self,
                                                              [[maybe_unused]] bool nested) {
#if SPORK_CHECKS
    if (owner_.load(std::memory_order_relaxed) == self)
        panic("spin_lock %s: taken twice by CPU %u", name_, self - 1);
#endif
    change_record([&](held_locks& held) {
        held.push(this, name_, rank_, nested);
        held.pop(this);
    });
    uint32_t expected;
    do {
        // Read until it looks free: only then is an atomic write worth the bus traffic. relax()
        // answers TLB shootdowns, which the holder may be waiting for.
        while (owner_.load(std::memory_order_relaxed) != 0)
            cpu::relax();
        expected = 0;
    } while (!owner_.compare_exchange_weak(expected, self, std::memory_order_acquire,
                                           std::memory_order_relaxed));
}

void spin_lock::lock_nested() { acquire(true); }

bool spin_lock::try_lock() {
    if (taken_by_interrupts(rank_))
        cpu::interrupts_push_off();
    uint32_t expected = 0;
    if (!owner_.compare_exchange_strong(expected, cpu::id() + 1, std::memory_order_acquire,
                                        std::memory_order_relaxed)) {
        if (taken_by_interrupts(rank_))
            cpu::interrupts_pop_off();
        return false;
    }
    // It did not wait, so it cannot be part of a dead-lock, whatever its rank.
    change_record([&](held_locks& held) { held.push(this, name_, rank_, true); });
    return true;
}

#include "arch/cpu.h"
#include "lib/assert.h"
#include "lib/lock.h"
#include "lib/lock_watch.h"

// Changes the CPU's record of locks, which is an interrupt handler's, too.
template <class Change> static void change_record([[maybe_unused]] Change change) {
#if SPORK_CHECKS
    cpu::interrupts_push_off();
    change(cpu_held_locks());
    cpu::interrupts_pop_off();
#endif
}

// The usual case: nobody has it. The order is checked with the lock taken; before a wait it is
// checked by wait_for_release(), so that a violation is reported and not dead-locked on.
inline void spin_lock::acquire(bool nested) {
    if (taken_by_interrupts(rank_))
        cpu::interrupts_push_off();
    else
        CHECK_ASSERT(!cpu::in_interrupt());
    const uint32_t self = cpu::id() + 1;
    uint32_t expected = 0;
    if (!owner_.compare_exchange_strong(expected, self, std::memory_order_acquire,
                                        std::memory_order_relaxed)) [[unlikely]]
        wait_for_release(self, nested); // and takes it
    change_record([&](held_locks& held) { held.push(this, name_, rank_, nested); });
}

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

void spin_lock::lock() {
    about_to_lock(rank_);
    acquire(false);
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

void spin_lock::unlock() {
    CHECK_ASSERT(held());
    change_record([&](held_locks& held) { held.pop(this); });
    // Before: a lock on the stack of one who waits for this (disk_wait) may be gone afterwards.
    const bool interrupts_off = taken_by_interrupts(rank_);
    owner_.store(0, std::memory_order_release);
    if (interrupts_off)
        cpu::interrupts_pop_off();
}

// Interrupts may be on; but kernel code does not change its CPU unless it sleeps, so that the two
// numbers are of one moment for all that matters here.
bool spin_lock::held() const { return owner_.load(std::memory_order_relaxed) == cpu::id() + 1; }

void spin_lock::assert_held() const { CHECK_ASSERT(held()); }

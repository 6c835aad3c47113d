// The state is one word: the owner, and bit 0 when somebody waits (or is about to). Taking and
// releasing a lock that nobody waits for is one compare-and-exchange; with the bit set the
// owner must go through guard_, under which waiters test the state before they sleep, so that a
// wake-up is never missed. Those ways are out of line, so that the usual one saves no registers for
// them.
//
// A release wakes the first in the queue and leaves the lock to whoever takes it first, mostly one
// that runs already: a lock that waited for its new owner to run would be idle meanwhile. But a
// waiter loses only once: then it goes to the head of the queue, and the next release makes it the
// owner.
#include "arch/cpu.h"
#include "lib/assert.h"
#include "lib/lock.h"
#include "lib/lock_watch.h"

namespace {

constexpr uintptr_t waiting = 1;
// Stands for the thread before there are threads.
constexpr uintptr_t boot_owner = 2;

uintptr_t self() {
    auto t = reinterpret_cast<uintptr_t>(cpu::current());
    return t ? t : boot_owner;
}

} // namespace

inline void sleep_lock::acquire(bool nested) {
    const uintptr_t me = self();
#if SPORK_CHECKS
    if (cpu_held_locks().count != 0) [[unlikely]]
        panic("sleep_lock %s: taken while spin_lock %s is held", name_,
              cpu_held_locks().entries[0].name);
    if (held()) [[unlikely]]
        panic("sleep_lock %s: taken twice by one thread", name_);
    thread_held_locks().push(this, name_, rank_, nested);
#else
    (void)nested;
#endif
    uintptr_t free = 0;
    if (!state_.compare_exchange_strong(free, me, std::memory_order_acquire,
                                        std::memory_order_relaxed)) [[unlikely]]
        wait_and_take(me);
}

[[gnu::noinline, gnu::cold]] void sleep_lock::wait_and_take(uintptr_t me) {
    const wait_for_lock noted(this);
    lock_guard guard(guard_);
    for (bool lost = false;; lost = true) {
        // With the bit set, only a holder of guard_ changes the state.
        const uintptr_t owner = state_.fetch_or(waiting, std::memory_order_acquire) & ~waiting;
        if (owner == me) // handed over
            return;
        if (owner == 0) {
            state_.store(waiters_.empty() ? me : me | waiting, std::memory_order_relaxed);
            return;
        }
        losers_ += lost;
        waiters_.wait(guard_, name_, lost ? wait_place::first : wait_place::last);
    }
}

void sleep_lock::lock() {
    about_to_lock(rank_);
    acquire(false);
}
void sleep_lock::lock_nested() { acquire(true); }

bool sleep_lock::try_lock() {
    uintptr_t free = 0;
    if (!state_.compare_exchange_strong(free, self(), std::memory_order_acquire,
                                        std::memory_order_relaxed))
        return false;
#if SPORK_CHECKS
    thread_held_locks().push(this, name_, rank_, true);
#endif
    return true;
}

void sleep_lock::unlock() {
#if SPORK_CHECKS
    ASSERT(held());
    thread_held_locks().pop(this);
#endif
    uintptr_t mine = self();
    if (!state_.compare_exchange_strong(mine, 0, std::memory_order_release,
                                        std::memory_order_relaxed)) [[unlikely]]
        release_waited_for();
}

[[gnu::noinline, gnu::cold]] void sleep_lock::release_waited_for() {
    lock_guard guard(guard_);
    // The bit stays while any are queued, so that the next release looks after them.
    thread* next = waiters_.wake_one();
    uintptr_t owner = 0;
    if (losers_ != 0) { // they are the first
        losers_--;
        owner = reinterpret_cast<uintptr_t>(next);
    }
    state_.store(waiters_.empty() ? owner : owner | waiting, std::memory_order_release);
}

bool sleep_lock::held() const {
    return (state_.load(std::memory_order_relaxed) & ~waiting) == self();
}

thread* sleep_lock::owner() const {
    uintptr_t o = state_.load(std::memory_order_relaxed) & ~waiting;
    return o == boot_owner ? nullptr : reinterpret_cast<thread*>(o);
}

void sleep_lock::assert_held() const { CHECK_ASSERT(held()); }

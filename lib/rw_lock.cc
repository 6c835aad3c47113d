// The state is one word: bit 0 a writer holds it, bit 1 somebody waits (or is about to), the
// rest the number of readers. While nobody waits, taking and releasing are one
// compare-and-exchange; with bit 1 set the state changes under guard_ only, where waiters test
// it before they sleep, so that a wake-up is never missed. Those ways are out of line, as a
// sleep_lock's.
//
// A reader does not pass a writer that waits: writers_wanting_ counts those from their first
// look at the state to the moment when they own it, including the time between being woken and
// running. When a writer releases the lock, all readers that wait are let in before the next
// writer: they own it from that moment. So neither kind keeps the other out, however many come.
// Among writers it is as with a sleep_lock: one that was woken and found the lock taken again is
// handed it at the next release.
#include "arch/cpu.h"
#include "lib/assert.h"
#include "lib/lock.h"
#include "lib/lock_watch.h"

namespace {

constexpr uint64_t writing = 1, waiting = 2, one_reader = 4;
constexpr bool has_readers(uint64_t state) { return state >= one_reader; }

} // namespace

inline void rw_lock::note_acquire([[maybe_unused]] bool nested) {
#if SPORK_CHECKS
    if (cpu_held_locks().count != 0) [[unlikely]]
        panic("rw_lock %s: taken while spin_lock %s is held", name_,
              cpu_held_locks().entries[0].name);
    if (thread_held_locks().holds(this)) [[unlikely]]
        panic("rw_lock %s: taken twice by one thread", name_);
    thread_held_locks().push(this, name_, rank_, nested);
#endif
}

inline void rw_lock::note_release() {
#if SPORK_CHECKS
    thread_held_locks().pop(this);
#endif
}

// The waiting bit as it must be when the lock is taken or released under guard_.
uint64_t rw_lock::waiting_bit() const {
    return writers_wanting_ != 0 || !readers_waiting_.empty() ? waiting : 0;
}

inline void rw_lock::acquire(bool nested) {
    note_acquire(nested);
    uint64_t free = 0;
    if (!state_.compare_exchange_strong(free, writing, std::memory_order_acquire,
                                        std::memory_order_relaxed)) [[unlikely]]
        wait_and_take();
    writer_.store(cpu::current(), std::memory_order_relaxed);
}

[[gnu::noinline, gnu::cold]] void rw_lock::wait_and_take() {
    const wait_for_lock noted(this);
    lock_guard guard(guard_);
    writers_wanting_++;
    for (bool lost = false;; lost = true) {
        const uint64_t before = state_.fetch_or(waiting, std::memory_order_acquire) & ~waiting;
        if (before == 0)
            break;
        if (before == writing && handed_to_ == cpu::current()) {
            handed_to_ = nullptr;
            break;
        }
        losers_ += lost;
        writers_waiting_.wait(guard_, name_, lost ? wait_place::first : wait_place::last);
    }
    writers_wanting_--;
    state_.store(writing | waiting_bit(), std::memory_order_relaxed);
}

// Wakes the first writer, who is the owner from now on if it has lost the lock before. Returns the
// state without its waiting bit.
uint64_t rw_lock::wake_writer() {
    thread* next = writers_waiting_.wake_one();
    if (losers_ == 0)
        return 0;
    losers_--;
    handed_to_ = next;
    return writing;
}

void rw_lock::lock() {
    about_to_lock(rank_);
    acquire(false);
}
void rw_lock::lock_nested() { acquire(true); }

bool rw_lock::try_lock() {
    uint64_t free = 0;
    if (!state_.compare_exchange_strong(free, writing, std::memory_order_acquire,
                                        std::memory_order_relaxed))
        return false;
#if SPORK_CHECKS
    thread_held_locks().push(this, name_, rank_, true);
#endif
    writer_.store(cpu::current(), std::memory_order_relaxed);
    return true;
}

void rw_lock::unlock() {
    ASSERT(held_exclusive());
    note_release();
    writer_.store(nullptr, std::memory_order_relaxed);
    uint64_t mine = writing;
    if (!state_.compare_exchange_strong(mine, 0, std::memory_order_release,
                                        std::memory_order_relaxed)) [[unlikely]]
        release_waited_for();
}

[[gnu::noinline, gnu::cold]] void rw_lock::release_waited_for() {
    lock_guard guard(guard_);
    const uint64_t readers = readers_waiting_.wake_all();
    const uint64_t state = readers != 0 ? readers * one_reader : wake_writer();
    state_.store(state | waiting_bit(), std::memory_order_release);
}

void rw_lock::lock_shared() {
    about_to_lock(rank_);
    note_acquire(false);
    uint64_t state = state_.load(std::memory_order_relaxed);
    while (!(state & (writing | waiting)))
        if (state_.compare_exchange_weak(state, state + one_reader, std::memory_order_acquire,
                                         std::memory_order_relaxed)) [[likely]]
            return;
    wait_and_share();
}

[[gnu::noinline, gnu::cold]] void rw_lock::wait_and_share() {
    const wait_for_lock noted(this);
    lock_guard guard(guard_);
    const uint64_t state = state_.fetch_or(waiting, std::memory_order_acquire) & ~waiting;
    if ((state & writing) || writers_wanting_ != 0)
        readers_waiting_.wait(guard_, name_); // whoever wakes it has counted it as a reader
    else
        state_.store((state + one_reader) | waiting_bit(), std::memory_order_relaxed);
}

void rw_lock::unlock_shared() {
    note_release();
    uint64_t state = state_.load(std::memory_order_relaxed);
    ASSERT(has_readers(state));
    while (!(state & waiting))
        if (state_.compare_exchange_weak(state, state - one_reader, std::memory_order_release,
                                         std::memory_order_relaxed)) [[likely]]
            return;
    release_shared_waited_for();
}

[[gnu::noinline, gnu::cold]] void rw_lock::release_shared_waited_for() {
    lock_guard guard(guard_);
    // Read again: the bit may have gone since, and then other readers come and go freely. Setting
    // it makes the state ours to change.
    uint64_t state = (state_.fetch_or(waiting, std::memory_order_relaxed) & ~waiting) - one_reader;
    if (!has_readers(state))
        state = wake_writer();
    state_.store(state | waiting_bit(), std::memory_order_release);
}

void rw_lock::downgrade() {
    ASSERT(held_exclusive());
    writer_.store(nullptr, std::memory_order_relaxed);
    lock_guard guard(guard_);
    state_.fetch_or(waiting, std::memory_order_relaxed);
    const uint64_t others = writers_wanting_ == 0 ? readers_waiting_.wake_all() : 0;
    state_.store((1 + others) * one_reader | waiting_bit(), std::memory_order_release);
}

bool rw_lock::held_exclusive() const {
    return (state_.load(std::memory_order_relaxed) & writing) &&
           writer_.load(std::memory_order_relaxed) == cpu::current();
}

bool rw_lock::held_any() const {
    return held_exclusive() || has_readers(state_.load(std::memory_order_relaxed));
}

void rw_lock::assert_held() const { CHECK_ASSERT(held_exclusive()); }
void rw_lock::assert_held_shared() const { CHECK_ASSERT(held_any()); }

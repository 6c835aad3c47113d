// The kernel's locks. Each knows its rank (lib/lock_rank.h); take them through the guards,
// lock_guard and read_guard.
//
//   spin_lock    short. Interrupts are off while one is held that interrupt handlers take too,
//                and stay on with the others: its rank says which it is. A CPU that waits for one
//                keeps answering TLB shootdowns, so its holder may wait for every other CPU to
//                flush.
//   sleep_lock   a mutex: the waiter sleeps. Never in interrupt handlers.
//   rw_lock      many readers or one writer; the waiter sleeps. Writers go before new readers,
//                and readers that wait go before the next writer.
//
// The wait for a sleep_lock or rw_lock is bounded: who has waited and then found it taken by
// somebody who came later gets it next.
//
// All three work on arch/host too, where a waiter is a host thread.
#pragma once

#include "arch/cpu.h"
#include "lib/assert.h"
#include "lib/lock_rank.h"
#include "lib/lock_watch.h"
#include "lib/thread_annotations.h"
#include "lib/wait_queue.h"

#include <atomic>
#include <cstdint>

struct thread;

class CAPABILITY("spin_lock") spin_lock {
public:
    constexpr explicit spin_lock(lock_rank rank, const char* name = "spin_lock")
        : name_(name), rank_(rank) {}
    spin_lock(const spin_lock&) = delete;

    void lock() ACQUIRE();
    // For a second lock of a rank that is held already; the caller says why that is safe.
    void lock_nested() ACQUIRE();
    bool try_lock() TRY_ACQUIRE(true);
    void unlock() RELEASE();
    // Whether the calling CPU (host thread) holds it.
    bool held() const;
    void assert_held() const ASSERT_CAPABILITY(this);
    const char* name() const { return name_; }
    lock_rank rank() const { return rank_; }

private:
    void acquire(bool nested) NO_THREAD_SAFETY_ANALYSIS;
    void wait_for_release(uint32_t self, bool nested);

    const char* name_;
    std::atomic<uint32_t> owner_{0}; // CPU number + 1; 0 when free
    lock_rank rank_;
};

class CAPABILITY("sleep_lock") sleep_lock {
public:
    explicit sleep_lock(lock_rank rank, const char* name = "sleep_lock")
        : name_(name), rank_(rank) {}
    sleep_lock(const sleep_lock&) = delete;

    void lock() ACQUIRE();        // may sleep
    void lock_nested() ACQUIRE(); // as for spin_lock
    bool try_lock() TRY_ACQUIRE(true);
    void unlock() RELEASE();
    bool held() const; // by the calling thread
    void assert_held() const ASSERT_CAPABILITY(this);
    lock_rank rank() const { return rank_; }
    thread* owner() const; // null when free

private:
    void acquire(bool nested) NO_THREAD_SAFETY_ANALYSIS;
    void wait_and_take(uintptr_t me);
    void release_waited_for();

    const char* name_;
    std::atomic<uintptr_t> state_{0}; // owner and waiting bit: see lib/sleep_lock.cc
    spin_lock guard_{lock_rank::sleep_lock, "sleep_lock guard"};
    wait_queue waiters_ GUARDED_BY(guard_);
    uint32_t losers_ GUARDED_BY(guard_) = 0; // the first so many waiters are handed the lock
    lock_rank rank_;
};

class CAPABILITY("rw_lock") rw_lock {
public:
    explicit rw_lock(lock_rank rank, const char* name = "rw_lock") : name_(name), rank_(rank) {}
    rw_lock(const rw_lock&) = delete;

    void lock() ACQUIRE(); // exclusive; may sleep
    void lock_nested() ACQUIRE();
    bool try_lock() TRY_ACQUIRE(true);
    void unlock() RELEASE();
    void lock_shared() ACQUIRE_SHARED(); // may sleep
    void unlock_shared() RELEASE_SHARED();
    // Writer to reader without letting another writer in between.
    void downgrade() NO_THREAD_SAFETY_ANALYSIS;
    bool held_exclusive() const; // by the calling thread
    bool held_any() const;       // exclusively by the caller, or shared by anybody
    void assert_held() const ASSERT_CAPABILITY(this);
    void assert_held_shared() const ASSERT_SHARED_CAPABILITY(this);
    lock_rank rank() const { return rank_; }

private:
    void acquire(bool nested) NO_THREAD_SAFETY_ANALYSIS;
    void note_acquire(bool nested);
    void note_release();
    void wait_and_take();
    void wait_and_share();
    void release_waited_for();
    void release_shared_waited_for();
    uint64_t waiting_bit() const REQUIRES(guard_);
    uint64_t wake_writer() REQUIRES(guard_);

    const char* name_;
    std::atomic<uint64_t> state_{0};       // writer, waiting, readers: see lib/rw_lock.cc
    std::atomic<thread*> writer_{nullptr}; // who, while there is one
    spin_lock guard_{lock_rank::sleep_lock, "rw_lock guard"};
    wait_queue readers_waiting_ GUARDED_BY(guard_);
    wait_queue writers_waiting_ GUARDED_BY(guard_);
    uint32_t writers_wanting_ GUARDED_BY(guard_) = 0;
    uint32_t losers_ GUARDED_BY(guard_) = 0; // the first so many writers are handed the lock
    thread* handed_to_ GUARDED_BY(guard_) = nullptr; // the writer that has it and does not know yet
    lock_rank rank_;
};

// Says of a guard that its lock is taken by lock_nested().
struct nested_lock {};

// Holds any of the above exclusively for a scope. unlock()/lock() allow a gap in it. Inline, so that
// where there is none nothing asks.
template <class Lock> class SCOPED_CAPABILITY lock_guard {
public:
    [[gnu::always_inline]] explicit lock_guard(Lock& lock) ACQUIRE(lock) : lock_(&lock) {
        lock_->lock();
    }
    lock_guard(Lock& lock, nested_lock) ACQUIRE(lock) : lock_(&lock) { lock_->lock_nested(); }
    [[gnu::always_inline]] ~lock_guard() RELEASE() {
        if (held_)
            lock_->unlock();
    }
    lock_guard(const lock_guard&) = delete;
    void unlock() RELEASE() {
        held_ = false;
        lock_->unlock();
    }
    void lock() ACQUIRE() {
        lock_->lock();
        held_ = true;
    }

private:
    Lock* lock_;
    bool held_ = true;
};
template <class Lock> lock_guard(Lock&) -> lock_guard<Lock>;
template <class Lock> lock_guard(Lock&, nested_lock) -> lock_guard<Lock>;

// What `lock` guards is looked at without it, because nothing else runs (kernel/sched/standstill.h)
// or nobody else knows of it, not yet or not any more: to clang, the caller holds the lock.
template <class Lock> void assume_held(const Lock& lock) ASSERT_CAPABILITY(lock) {}

class SCOPED_CAPABILITY read_guard {
public:
    explicit read_guard(rw_lock& lock) ACQUIRE_SHARED(lock) : lock_(&lock) { lock_->lock_shared(); }
    ~read_guard() RELEASE_GENERIC() { lock_->unlock_shared(); }
    read_guard(const read_guard&) = delete;

private:
    rw_lock* lock_;
};

// The locks that the calling thread (sleep locks) and CPU (spin locks) hold, for the rank
// check and for panics. One per thread and one per CPU; provided by the environment.
struct held_locks {
    static constexpr unsigned capacity = 16;
    struct entry {
        const void* lock;
        const char* name;
        lock_rank rank;
        lock_rank highest; // of this entry and those before it
    };
    entry entries[capacity];
    unsigned count = 0;
    // The sleep lock for which the thread sleeps, and which is an entry already; null: for none.
    const void* wanted = nullptr;

    // The held lock that forbids taking one of `rank` now, or null.
    const entry* conflict(lock_rank rank) const;
    // Panics if there is a conflict (unless `nested`).
    void push(const void* lock, const char* name, lock_rank rank, bool nested) {
        lock_rank before = count ? entries[count - 1].highest : lock_rank::none;
        if ((before >= rank && !nested) || count == capacity) [[unlikely]]
            refuse(name, rank);
        entries[count++] = {lock, name, rank, before > rank ? before : rank};
    }
    void pop(const void* lock) {
        if (count && entries[count - 1].lock == lock) [[likely]]
            count--;
        else
            pop_from_below(lock);
    }
    bool holds(const void* lock) const;

private:
    [[noreturn]] void refuse(const char* name, lock_rank rank) const;
    void pop_from_below(const void* lock);
};
held_locks& thread_held_locks(); // the calling thread's sleep locks

// While one exists, the calling thread is one that waits for a sleep lock: who looks for what a
// machine hangs in reads it (kernel/sched/watchdog.h).
class wait_for_lock {
public:
    explicit wait_for_lock(const void* lock) : mine_(thread_held_locks()) { note(lock); }
    ~wait_for_lock() { note(nullptr); }
    wait_for_lock(const wait_for_lock&) = delete;

private:
    void note(const void* lock) {
        std::atomic_ref(mine_.wanted).store(lock, std::memory_order_relaxed);
    }
    held_locks& mine_;
};

// The calling CPU's spin locks; interrupts are off. Defined by arch/cpu.h's implementation, inline
// where it can be.
held_locks& cpu_held_locks();

// ---- The usual way through a spin lock: nobody has it. In a kernel without checks it is part of its
// caller.
#if SPORK_CHECKS
#define SPIN_LOCK_WAY [[gnu::noinline]] inline
#else
#define SPIN_LOCK_WAY [[gnu::always_inline]] inline
#endif

// Changes the CPU's record of locks, which is an interrupt handler's, too.
template <class Change>
[[gnu::always_inline]] inline void change_record([[maybe_unused]] Change change) {
#if SPORK_CHECKS
    cpu::interrupts_push_off();
    change(cpu_held_locks());
    cpu::interrupts_pop_off();
#endif
}

// The order is checked with the lock taken; before a wait it is checked by wait_for_release(), so
// that a violation is reported and not dead-locked on.
[[gnu::always_inline]] inline void spin_lock::acquire(bool nested) {
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

SPIN_LOCK_WAY void spin_lock::lock() {
    about_to_lock(rank_);
    acquire(false);
}

// Interrupts may be on; but kernel code does not change its CPU unless it sleeps, so that the two
// numbers are of one moment for all that matters here.
inline bool spin_lock::held() const {
    return owner_.load(std::memory_order_relaxed) == cpu::id() + 1;
}

inline void spin_lock::assert_held() const { CHECK_ASSERT(held()); }

SPIN_LOCK_WAY void spin_lock::unlock() {
    CHECK_ASSERT(held());
    change_record([&](held_locks& held) { held.pop(this); });
    // Before: a lock on the stack of one who waits for this (disk_wait) may be gone afterwards.
    const bool interrupts_off = taken_by_interrupts(rank_);
    owner_.store(0, std::memory_order_release);
    if (interrupts_off)
        cpu::interrupts_pop_off();
}

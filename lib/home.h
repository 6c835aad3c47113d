// home<Queue>: in which of several queues a thing is, when that may change while others look for
// it: a timer that another CPU sets, a futex waiter that is moved to another word.
//
// What was read before a lock was held is old once it is held. So the choice cannot be read but
// with the lock of the queue that it names: lock() takes that and looks again, until the two agree.
// And only who holds that lock changes the choice.
//
// To the analysis the home itself is the lock: what lock() gives, and what the thing's fields are
// guarded by.
#pragma once

#include "lib/assert.h"
#include "lib/thread_annotations.h"

#include <atomic>

// A Queue has a spin_lock named `lock`.
template <class Queue> class CAPABILITY("home") home {
public:
    // Nobody else knows the thing yet.
    explicit home(Queue& first) : queue_(&first) {}
    home(const home&) = delete;

    void lock() ACQUIRE() NO_THREAD_SAFETY_ANALYSIS;
    void unlock() RELEASE() NO_THREAD_SAFETY_ANALYSIS {
        queue_.load(std::memory_order_relaxed)->lock.unlock();
    }
    Queue& queue() const REQUIRES(this) { return *queue_.load(std::memory_order_relaxed); }

    // Chooses another queue and lets go of this one's lock. The thing is in neither.
    void leave_for(Queue& other) RELEASE() NO_THREAD_SAFETY_ANALYSIS {
        queue_.exchange(&other, std::memory_order_release)->lock.unlock();
    }
    // The same for who has both locks, and keeps both.
    void move_to(Queue& other) REQUIRES(this) {
        CHECK_ASSERT(other.lock.held());
        queue_.store(&other, std::memory_order_release);
    }

    // For who has a queue's lock and has found the thing in it.
    void assert_is(const Queue& here) const ASSERT_CAPABILITY(this) {
        CHECK_ASSERT(queue_.load(std::memory_order_relaxed) == &here && here.lock.held());
    }

private:
    std::atomic<Queue*> queue_;
};

template <class Queue> inline void home<Queue>::lock() {
    for (;;) {
        Queue* chosen = queue_.load(std::memory_order_acquire);
        chosen->lock.lock();
        if (queue_.load(std::memory_order_relaxed) == chosen)
            return;
        chosen->lock.unlock();
    }
}

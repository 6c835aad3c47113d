// Where threads sleep until somebody wakes them.
//
// Every wait_queue is guarded by a spin lock of its owner, the same that guards the condition
// waited for. wait() enters the queue and releases the guard in one step, so a wake-up cannot
// fall between the test of the condition and the sleep:
//
//     lock_guard guard(lock_);
//     while (!ready_)
//         queue_.wait(lock_);
//
// A woken thread re-takes the guard and must test its condition again.
#pragma once

#include "lib/list.h"
#include "lib/no_alloc.h"
#include "lib/result.h"
#include "lib/thread_annotations.h"
#include "lib/types.h"

struct thread;
class spin_lock;
enum class timer_clock : uint8_t; // kernel/sched/timer.h

// What may end a sleep besides its wake-up.
enum class sleep_kind : uint8_t { uninterruptible, killable, interruptible };

// Where in the queue a sleeper waits: the first is woken first.
enum class wait_place : uint8_t { last, first };

class wait_queue {
public:
    constexpr wait_queue() = default;

    // Sleeps until woken; signals do not end it. `guard` is released meanwhile. `why` names the
    // reason for ps and panics ("pipe_read", "vfork"), as NetBSD's wmesg does.
    void wait(spin_lock& guard, const char* why, wait_place place = wait_place::last)
        REQUIRES(guard) {
        (void)sleep(guard, sleep_kind::uninterruptible, why, forever, timer_clock{}, place);
    }
    // Sleeps until woken, until `clock` (since boot) shows `deadline`: timedout, or until a signal
    // that is not blocked is pending: intr. Callers turn intr into restartsys as fits.
    status wait_interruptible(spin_lock& guard, const char* why, nanos_t deadline = forever,
                              timer_clock clock = timer_clock{}) REQUIRES(guard) {
        return sleep(guard, sleep_kind::interruptible, why, deadline, clock, wait_place::last);
    }
    // As wait_interruptible, but only a signal that kills ends it.
    status wait_killable(spin_lock& guard, const char* why, nanos_t deadline = forever)
        REQUIRES(guard) {
        return sleep(guard, sleep_kind::killable, why, deadline, timer_clock{}, wait_place::last);
    }

    // Wakes the first sleeper, and returns it or null; or all, and returns how many. The caller
    // holds the guard.
    NO_ALLOC thread* wake_one();
    NO_ALLOC unsigned wake_all() {
        unsigned n = 0;
        for (; !waiters_.empty(); n++)
            wake_one();
        return n;
    }
    // wake_all() where interrupts are off under the guard: lets go of it after some. Those who come
    // meanwhile sleep on.
    template <class Guard> void wake_all_in_parts(Guard& guard) NO_THREAD_SAFETY_ANALYSIS;
    bool empty() const { return waiters_.empty(); }

private:
    // One sleeping thread; lives on its stack.
    struct waiter {
        list_node on_queue;
        thread* sleeper = nullptr;
        bool woken = false;
    };
    // Who knows how to sleep and to wake: kernel/sched, arch/host.
    status sleep(spin_lock& guard, sleep_kind kind, const char* why, nanos_t deadline,
                 timer_clock clock, wait_place place) REQUIRES(guard);

    list<waiter, &waiter::on_queue> waiters_;
};

template <class Guard> inline void wait_queue::wake_all_in_parts(Guard& guard) {
    constexpr unsigned at_once = 16;
    wait_queue those;
    those.waiters_.splice_back(waiters_);
    while (!those.empty()) {
        for (unsigned i = 0; i < at_once && those.wake_one(); i++) {
        }
        guard.unlock();
        guard.lock();
    }
}

// wait_queue on condition variables: each host thread sleeps on its own, or lets those run with
// which it takes turns. There are no signals here, so that only a wake-up or a deadline ends a
// sleep.
#include "lib/wait_queue.h"

#include "arch/timer.h"
#include "lib/assert.h"
#include "lib/lock.h"

#include "host_thread.h"
#include "host_turns.h"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace {

// A sleep without deadline that lasts so long is a dead-lock or a lost wake-up.
constexpr nanos_t longest_sleep = 120 * nanos_per_second;

} // namespace

status wait_queue::sleep(spin_lock& guard, sleep_kind, const char* why, nanos_t deadline,
                         timer_clock, wait_place place) {
    host_thread& me = host_thread::self();
    ASSERT(guard.held() && me.cpu_locks.count == 1);
    waiter w{.sleeper = me.as_thread()};
    if (place == wait_place::first)
        waiters_.push_front(w);
    else
        waiters_.push_back(w);
    guard.unlock();

    if (me.turn) {
        ASSERT(deadline == forever);
        const bool ended = me.turn->all.sleep(*me.turn, why);
        guard.lock();
        if (w.woken)
            return {};
        ASSERT(ended);
        waiters_.remove(w);
        throw host_thread_ended{}; // to who holds the guard
    }

    const nanos_t started = now();
    const nanos_t until = std::min(deadline, started + longest_sleep);
    bool timed_out, ended = false;
    {
        std::unique_lock asleep(me.sleeping);
        const nanos_t left = until > started ? until - started : 0;
        timed_out = !me.wake.wait_for(asleep, std::chrono::nanoseconds(left), [&] {
            ended = me.ends_in && std::strcmp(me.ends_in, why) == 0;
            return w.woken || ended;
        });
    }
    if (timed_out && until != deadline)
        panic("wait_queue: a thread has slept for %llu s on %s",
              static_cast<unsigned long long>(longest_sleep / nanos_per_second), why);

    guard.lock();
    if (w.woken) // perhaps between the time-out and the guard
        return {};
    waiters_.remove(w);
    if (ended)
        throw host_thread_ended{};
    return fail(Errno::timedout);
}

thread* wait_queue::wake_one() {
    waiter* w = waiters_.pop_front();
    if (!w)
        return nullptr;
    // The waiter is gone as soon as its thread has the guard, which the caller holds.
    host_thread& sleeper = host_thread::of(w->sleeper);
    if (sleeper.turn) {
        w->woken = true;
        sleeper.turn->all.wake(*sleeper.turn);
        return w->sleeper;
    }
    std::lock_guard sleeping(sleeper.sleeping);
    w->woken = true;
    sleeper.wake.notify_one();
    return w->sleeper;
}

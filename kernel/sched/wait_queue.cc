// Sleeping on a wait_queue: see kernel/sched/sched.cc for why no wake-up is lost.
#include "lib/wait_queue.h"

#include "kernel/process/thread.h"
#include "kernel/sched/sched.h"
#include "kernel/sched/timer.h"

namespace {

// The deadline of a sleep: wakes the thread and remembers that it did.
class sleep_deadline {
public:
    sleep_deadline(thread& sleeper, nanos_t deadline, timer_clock clock) : sleeper_(sleeper) {
        if (deadline != forever) {
            event_.set(deadline, fire, this, clock);
            used_ = true;
        }
    }
    ~sleep_deadline() {
        if (used_)
            event_.cancel();
    }
    bool over() const { return over_.load(); }

private:
    static void fire(void* context) {
        auto* self = static_cast<sleep_deadline*>(context);
        self->over_.store(true);
        sched_wake(self->sleeper_);
    }
    thread& sleeper_;
    timer_event event_;
    std::atomic<bool> over_{false};
    bool used_ = false;
};

} // namespace

// The queue holds a pointer into this function's frame only until it returns.
#ifndef __clang__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdangling-pointer"
#endif
status wait_queue::sleep(spin_lock& guard, sleep_kind kind, const char* why, nanos_t deadline,
                         timer_clock clock, wait_place place) {
    guard.assert_held();
    thread& self = current_thread();
    waiter w{.on_queue = {}, .sleeper = &self, .woken = false};
    if (place == wait_place::first)
        waiters_.push_front(w);
    else
        waiters_.push_back(w);
    status result;
    {
        sleep_deadline limit(self, deadline, clock);
        while (!w.woken && result) {
            sched_prepare_to_sleep(kind, why);
            guard.unlock();
            // A deadline that was over before the state was `sleeping` has woken nobody.
            if (limit.over())
                sched_wake(self);
            sched_sleep();
            // Asked without the guard, which may come after the signal locks in the lock order.
            bool ends = kind == sleep_kind::interruptible ? signal_pending(self)
                        : kind == sleep_kind::killable    ? signal_kill_pending(self)
                                                          : false;
            guard.lock();
            if (limit.over())
                result = fail(Errno::timedout);
            else if (ends)
                result = fail(Errno::intr);
        }
        if (!w.woken)
            waiters_.remove(w);
        // cancel() may wait for fire(), which takes no lock of the caller's.
    }
    return w.woken ? status{} : result;
}
#ifndef __clang__
#pragma GCC diagnostic pop
#endif

thread* wait_queue::wake_one() {
    waiter* w = waiters_.pop_front();
    if (!w)
        return nullptr;
    // The sleeper cannot leave before it has the guard, which the caller holds.
    w->woken = true;
    sched_wake(*w->sleeper);
    return w->sleeper;
}

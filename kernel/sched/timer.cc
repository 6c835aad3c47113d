// timer_event: a queue per CPU, ordered by deadline, in pairing heaps (Fredman, Sedgewick, Sleator
// and Tarjan 1986), one for each clock, so that setting the wall clock moves no event: setting is
// O(1), taking the first or any other is O(log n) amortised, and the links live in the event, so
// that setting one cannot fail.
//
// An event moves to the queue of the CPU that sets it; which that is says its home (lib/home.h).
// Its function is called without the queue's lock, so that it may take any spin lock and set the
// event again; `firing` says whose function is running, and cancel() waits for it. Meanwhile the
// event stays where it is: who looks for it must find the queue that knows that it is firing.
#include "arch/timer.h"
#include "arch/cpu.h"
#include "arch/upcalls.h"
#include "kernel/sched/sched.h"
#include "kernel/sched/wall_clock.h"
#include "lib/lock.h"

#include <algorithm>
#include <utility>

struct alignas(64) timer_queue {
    spin_lock lock{lock_rank::timer, "timer queue"};
    timer_event* first[2] GUARDED_BY(lock) = {}; // by timer_clock
    timer_event* firing GUARDED_BY(lock) = nullptr;
    nanos_t programmed = forever; // the CPU's own: what its timer is set to

    void insert(timer_event& e) REQUIRES(lock);
    void remove(timer_event& e) REQUIRES(lock);
    // Takes a first event out if it is due, and calls its function. False: none is due.
    bool fire_first(nanos_t time) EXCLUDES(lock);
    // When the next one is due, by now(); forever: there is none.
    nanos_t next_deadline() EXCLUDES(lock);

private:
    timer_event* first_due(nanos_t time) REQUIRES(lock);
    timer_event* meld(timer_event* a, timer_event* b) REQUIRES(lock);
    timer_event* meld_children(timer_event& parent) REQUIRES(lock);
};

namespace {

timer_queue queues[max_cpus];

// When a clock shows `deadline`, by now().
nanos_t since_boot(nanos_t deadline, timer_clock clock) {
    const nanos_t ahead = clock == timer_clock::wall ? wall_clock_offset() : 0;
    return deadline > ahead ? deadline - ahead : 0;
}

} // namespace

// Makes the later of two heaps a child of the earlier; either may be null.
timer_event* timer_queue::meld(timer_event* a, timer_event* b) {
    if (!a || !b)
        return a ? a : b;
    a->home_.assert_is(*this);
    b->home_.assert_is(*this);
    if (b->deadline_ < a->deadline_)
        std::swap(a, b);
    b->previous_ = a;
    b->sibling_ = a->child_;
    if (timer_event* elder = a->child_) {
        elder->home_.assert_is(*this);
        elder->previous_ = b;
    }
    a->child_ = b;
    return a;
}

// One heap of an event's children: melded in pairs from the left, then all from the right.
timer_event* timer_queue::meld_children(timer_event& parent) {
    parent.home_.assert_is(*this);
    timer_event* child = std::exchange(parent.child_, nullptr);
    timer_event* pairs = nullptr; // a stack, linked by `previous_`
    while (child) {
        timer_event* a = child;
        a->home_.assert_is(*this);
        timer_event* b = a->sibling_;
        child = nullptr;
        a->sibling_ = a->previous_ = nullptr;
        if (b) {
            b->home_.assert_is(*this);
            child = b->sibling_;
            b->sibling_ = b->previous_ = nullptr;
        }
        timer_event* pair = meld(a, b);
        pair->home_.assert_is(*this);
        pair->previous_ = pairs;
        pairs = pair;
    }
    timer_event* heap = nullptr;
    while (pairs) {
        pairs->home_.assert_is(*this);
        timer_event* next = std::exchange(pairs->previous_, nullptr);
        heap = meld(heap, pairs);
        pairs = next;
    }
    return heap;
}

void timer_queue::insert(timer_event& e) {
    e.home_.assert_is(*this);
    e.child_ = e.sibling_ = e.previous_ = nullptr;
    e.armed_ = true;
    timer_event*& heap = first[unsigned(e.clock_)];
    heap = meld(heap, &e);
}

void timer_queue::remove(timer_event& e) {
    e.home_.assert_is(*this);
    timer_event* orphans = meld_children(e);
    timer_event*& heap = first[unsigned(e.clock_)];
    if (&e == heap) {
        heap = orphans;
    } else {
        // `previous_` is the parent of a first child, else the elder sibling.
        timer_event* before = e.previous_;
        before->home_.assert_is(*this);
        (before->child_ == &e ? before->child_ : before->sibling_) = e.sibling_;
        if (timer_event* after = e.sibling_) {
            after->home_.assert_is(*this);
            after->previous_ = before;
        }
        heap = meld(heap, orphans);
    }
    e.sibling_ = e.previous_ = nullptr;
    e.armed_ = false;
}

timer_event* timer_queue::first_due(nanos_t time) {
    for (timer_event* e : first) {
        if (!e)
            continue;
        e->home_.assert_is(*this);
        if (since_boot(e->deadline_, e->clock_) <= time)
            return e;
    }
    return nullptr;
}

bool timer_queue::fire_first(nanos_t time) {
    lock_guard guard(lock);
    timer_event* e = first_due(time);
    if (!e)
        return false;
    e->home_.assert_is(*this);
    remove(*e);
    auto* fire = e->fire_;
    void* context = e->context_;
    firing = e;
    guard.unlock();
    fire(context);
    guard.lock();
    // The event itself may be gone by now.
    firing = nullptr;
    return true;
}

nanos_t timer_queue::next_deadline() {
    lock_guard guard(lock);
    nanos_t next = forever;
    for (timer_event* e : first) {
        if (!e)
            continue;
        e->home_.assert_is(*this);
        next = std::min(next, since_boot(e->deadline_, e->clock_));
    }
    return next;
}

void timer_want(nanos_t deadline) {
    timer_queue& q = queues[cpu::id()];
    // A timer that is set to an earlier time stays: its interrupt will find that it came too soon.
    if (deadline < q.programmed) {
        q.programmed = deadline;
        timer_program(deadline);
    }
}

// Most events are set by who makes them: on this CPU.
timer_event::timer_event() : home_(queues[cpu::id()]) {}

void timer_event::set(nanos_t deadline, void (*fire)(void*), void* context, timer_clock clock) {
    cpu::interrupts_push_off();
    timer_queue& mine = queues[cpu::id()];
    for (;;) {
        home_.lock();
        timer_queue& q = home_.queue();
        q.lock.assert_held();
        if (armed_)
            q.remove(*this);
        // Another CPU that is calling its function will look for the next deadline after that.
        if (&q == &mine || q.firing == this) {
            fire_ = fire;
            context_ = context;
            deadline_ = deadline;
            clock_ = clock;
            q.insert(*this);
            home_.unlock();
            break;
        }
        home_.leave_for(mine);
    }
    timer_want(since_boot(deadline, clock));
    cpu::interrupts_pop_off();
}

void timer_event::cancel() {
    for (;;) {
        lock_guard guard(home_);
        timer_queue& q = home_.queue();
        q.lock.assert_held();
        if (armed_)
            q.remove(*this);
        // With interrupts off, a function that runs on this very CPU is the one that is calling us.
        if (q.firing != this || &q == &queues[cpu::id()])
            return;
        guard.unlock();
        cpu::relax();
        guard.lock();
    }
}

bool timer_event::armed() {
    lock_guard guard(home_);
    return armed_;
}

void handle_timer_interrupt() {
    timer_queue& q = queues[cpu::id()];
    q.programmed = forever;
    const nanos_t time = now();
    while (q.fire_first(time)) {
    }
    sched_tick(time);
    timer_program_next();
}

void timer_program_next() {
    const nanos_t next = std::min(sched_next_event(), queues[cpu::id()].next_deadline());
    if (next != forever)
        timer_want(next);
}

void timer_clock_was_set() {
    cpu::interrupts_push_off();
    for (unsigned i = 0; i < cpu::count(); i++)
        if (i != cpu::id())
            cpu::send_reschedule(i);
    timer_program_next();
    cpu::interrupts_pop_off();
}

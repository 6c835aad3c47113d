// timer_event: a queue per CPU, ordered by deadline, in a pairing heap (Fredman, Sedgewick, Sleator
// and Tarjan 1986): setting is O(1), taking the first or any other is O(log n) amortised, and the
// links live in the event, so that setting one cannot fail.
//
// An event is in the queue of the CPU that set it. Its function is called without the queue's lock,
// so that it may take any spin lock and set the event again; `firing` says whose function is
// running, and cancel() waits for it.
#include "arch/timer.h"
#include "arch/cpu.h"
#include "arch/upcalls.h"
#include "kernel/sched.h"
#include "lib/lock.h"

#include <algorithm>
#include <utility>

namespace {

struct alignas(64) timer_queue {
    spin_lock lock{lock_rank::timer, "timer queue"};
    timer_event* first GUARDED_BY(lock) = nullptr;
    timer_event* firing GUARDED_BY(lock) = nullptr;
    nanos_t programmed = forever; // the CPU's own: what its timer is set to
};

timer_queue queues[max_cpus];

// Makes the later of two heaps a child of the earlier; either may be null.
timer_event* meld(timer_event* a, timer_event* b) {
    if (!a || !b)
        return a ? a : b;
    if (b->impl.deadline < a->impl.deadline)
        std::swap(a, b);
    b->impl.previous = a;
    b->impl.sibling = a->impl.child;
    if (a->impl.child)
        a->impl.child->impl.previous = b;
    a->impl.child = b;
    return a;
}

// One heap of an event's children: melded in pairs from the left, then all from the right.
timer_event* meld_children(timer_event& parent) {
    timer_event* child = std::exchange(parent.impl.child, nullptr);
    timer_event* pairs = nullptr; // a stack, linked by `previous`
    while (child) {
        timer_event* a = child;
        timer_event* b = a->impl.sibling;
        child = b ? b->impl.sibling : nullptr;
        a->impl.sibling = a->impl.previous = nullptr;
        if (b)
            b->impl.sibling = b->impl.previous = nullptr;
        timer_event* pair = meld(a, b);
        pair->impl.previous = pairs;
        pairs = pair;
    }
    timer_event* heap = nullptr;
    while (pairs) {
        timer_event* next = std::exchange(pairs->impl.previous, nullptr);
        heap = meld(heap, pairs);
        pairs = next;
    }
    return heap;
}

void insert(timer_queue& q, timer_event& e) REQUIRES(q.lock) {
    e.impl.child = e.impl.sibling = e.impl.previous = nullptr;
    e.impl.armed = true;
    q.first = meld(q.first, &e);
}

void remove(timer_queue& q, timer_event& e) REQUIRES(q.lock) {
    timer_event* orphans = meld_children(e);
    if (&e == q.first) {
        q.first = orphans;
    } else {
        // `previous` is the parent of a first child, else the elder sibling.
        timer_event* before = e.impl.previous;
        (before->impl.child == &e ? before->impl.child : before->impl.sibling) = e.impl.sibling;
        if (e.impl.sibling)
            e.impl.sibling->impl.previous = before;
        q.first = meld(q.first, orphans);
    }
    e.impl.sibling = e.impl.previous = nullptr;
    e.impl.armed = false;
}

} // namespace

void timer_want(nanos_t deadline) {
    timer_queue& q = queues[cpu::id()];
    // A timer that is set to an earlier time stays: its interrupt will find that it came too soon.
    if (deadline < q.programmed) {
        q.programmed = deadline;
        timer_program(deadline);
    }
}

void timer_event::set(nanos_t deadline, void (*fire)(void*), void* context) {
    cpu::interrupts_push_off();
    if (armed()) {
        timer_queue& old = queues[impl.cpu];
        lock_guard guard(old.lock);
        if (impl.armed)
            remove(old, *this);
    }
    const unsigned id = cpu::id();
    timer_queue& q = queues[id];
    {
        lock_guard guard(q.lock);
        impl.deadline = deadline;
        impl.fire = fire;
        impl.context = context;
        impl.cpu = id;
        insert(q, *this);
    }
    timer_want(deadline);
    cpu::interrupts_pop_off();
}

void timer_event::cancel() {
    for (;;) {
        timer_queue& q = queues[impl.cpu];
        lock_guard guard(q.lock);
        if (impl.armed)
            remove(q, *this);
        // With interrupts off, a function that runs on this very CPU is the one that is calling us.
        if (q.firing != this || &q == &queues[cpu::id()])
            return;
        guard.unlock();
        cpu::relax();
        guard.lock();
    }
}

bool timer_event::armed() const {
    timer_queue& q = queues[impl.cpu];
    lock_guard guard(q.lock);
    return impl.armed;
}

void handle_timer_interrupt() {
    timer_queue& q = queues[cpu::id()];
    q.programmed = forever;
    const nanos_t time = now();
    for (;;) {
        lock_guard guard(q.lock);
        timer_event* e = q.first;
        if (!e || e->impl.deadline > time)
            break;
        remove(q, *e);
        auto* fire = e->impl.fire;
        void* context = e->impl.context;
        q.firing = e;
        guard.unlock();
        fire(context);
        guard.lock();
        // The event itself may be gone by now.
        q.firing = nullptr;
    }
    sched_tick(time);

    nanos_t next = sched_next_event();
    {
        lock_guard guard(q.lock);
        if (q.first)
            next = std::min(next, q.first->impl.deadline);
    }
    if (next != forever)
        timer_want(next);
}

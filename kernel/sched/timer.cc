// timer_event: queues per CPU, ordered by deadline, a tree for each clock, so that setting the wall
// clock moves no event. However many events there are, setting, taking and cancelling one is
// O(log n), for interrupts are off meanwhile; and the links live in the event, so that setting one
// cannot fail.
//
//      timer interrupt --> some of those that are due at once; more: another interrupt
//                      --> deferred ones are due: said to the running thread
//                                |
//          on its way to user mode, in a pause of long work, idle --> some of these
//
// An event moves to the queue of the CPU that sets it; which that is says its home (lib/home.h).
// Its function is called without the queue's lock, so that it may take any spin lock and set the
// event again; `firing` says whose function is running, and cancel() waits for it. Meanwhile the
// event stays where it is: who looks for it must find the queue that knows that it is firing.
#include "kernel/sched/timer.h"

#include "arch/cpu.h"
#include "arch/timer.h"
#include "arch/upcalls.h"
#include "lib/lock.h"

#include <algorithm>

struct timer_queue {
    spin_lock lock{lock_rank::timer, "timer queue"};
    using tree = avl_tree<timer_event, &timer_event::links_>;
    tree events[2] GUARDED_BY(lock); // by timer_clock
    timer_event* firing GUARDED_BY(lock) = nullptr;

    void insert(timer_event& e) REQUIRES(lock);
    void remove_if_set(timer_event& e) REQUIRES(lock);
    // Takes a first event out if it is due, and calls its function. False: none is due.
    bool fire_first(nanos_t time) EXCLUDES(lock);
    // When the next one is due, by now(); forever: there is none.
    nanos_t next_deadline() EXCLUDES(lock);

private:
    struct upcoming {
        timer_event* event = nullptr;
        nanos_t at = forever; // by now()
    };
    upcoming next() REQUIRES(lock);
};

namespace {

struct alignas(64) cpu_timers {
    timer_queue queues[2]; // by timer_call
    // The CPU's own, with interrupts off.
    nanos_t programmed = forever;      // what its timer is set to
    std::atomic<bool> deferred{false}; // such events are due: no interrupt is wanted for them
    nanos_t deferred_until = 0;        // none of them is due before

    timer_queue& queue(timer_call how) { return queues[unsigned(how)]; }
    nanos_t next_deferred() {
        return std::max(queue(timer_call::deferred).next_deadline(), deferred_until);
    }
    void defer() {
        deferred.store(true, std::memory_order_relaxed);
        sched_events_deferred();
    }
};

cpu_timers timers[max_cpus];

cpu_timers& here() { return timers[cpu::id()]; }

// What the wall clock is ahead of now(), once it was set; 0: it goes on from boot.
constinit std::atomic<nanos_t> wall_clock_set{0};

// When a clock shows `deadline`, by now().
nanos_t since_boot(nanos_t deadline, timer_clock clock) {
    const nanos_t ahead = clock == timer_clock::wall ? wall_clock_offset() : 0;
    return deadline > ahead ? deadline - ahead : 0;
}

} // namespace

void timer_queue::insert(timer_event& e) {
    e.home_.assert_is(*this);
    tree& others = events[unsigned(e.clock_)];
    timer_event* later = others.first_where([&, deadline = e.deadline_](const timer_event& other) {
        other.home_.assert_is(*this);
        return other.deadline_ > deadline;
    });
    others.insert_before(later, e);
}

void timer_queue::remove_if_set(timer_event& e) {
    e.home_.assert_is(*this);
    if (tree::linked(e))
        events[unsigned(e.clock_)].erase(e);
}

timer_queue::upcoming timer_queue::next() {
    upcoming found;
    for (const tree& some : events) {
        timer_event* e = some.first();
        if (!e)
            continue;
        e->home_.assert_is(*this);
        const nanos_t at = since_boot(e->deadline_, e->clock_);
        if (at < found.at)
            found = {e, at};
    }
    return found;
}

bool timer_queue::fire_first(nanos_t time) {
    lock_guard guard(lock);
    const upcoming found = next();
    if (found.at > time || !found.event)
        return false;
    ASSERT(!firing); // else a function has slept, or made a pause
    timer_event* e = found.event;
    e->home_.assert_is(*this);
    remove_if_set(*e);
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
    return next().at;
}

void timer_want(nanos_t deadline) {
    cpu_timers& mine = here();
    // A timer that is set to an earlier time stays: its interrupt will find that it came too soon.
    if (deadline < mine.programmed) {
        mine.programmed = deadline;
        timer_program(deadline);
    }
}

// Most events are set by who makes them: on this CPU.
timer_event::timer_event(timer_call how) : how_(how), home_(here().queue(how)) {}

void timer_event::set(nanos_t deadline, void (*fire)(void*), void* context, timer_clock clock) {
    cpu::interrupts_push_off();
    cpu_timers& cpu = here();
    timer_queue& mine = cpu.queue(how_);
    for (;;) {
        home_.lock();
        timer_queue& q = home_.queue();
        q.lock.assert_held();
        q.remove_if_set(*this);
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
    nanos_t when = since_boot(deadline, clock);
    if (how_ == timer_call::deferred)
        when = std::max(when, cpu.deferred_until);
    if (how_ == timer_call::deferred && when <= now())
        cpu.defer();
    else
        timer_want(when);
    cpu::interrupts_pop_off();
}

void timer_event::cancel() {
    for (;;) {
        lock_guard guard(home_);
        timer_queue& q = home_.queue();
        q.lock.assert_held();
        q.remove_if_set(*this);
        // A function that runs on this very CPU is the one that is calling us.
        if (q.firing != this || &q == &here().queue(how_))
            return;
        guard.unlock();
        cpu::relax();
        guard.lock();
    }
}

bool timer_event::armed() {
    lock_guard guard(home_);
    return timer_queue::tree::linked(*this);
}

void handle_timer_interrupt() {
    constexpr unsigned most = 8; // interrupts are off meanwhile
    cpu_timers& mine = here();
    mine.programmed = forever;
    const nanos_t time = now();
    for (unsigned n = 0; n < most && mine.queue(timer_call::at_once).fire_first(time); n++) {
    }
    if (mine.next_deferred() <= time)
        mine.defer();
    sched_tick(time);
    timer_program_next();
}

void timer_program_next() {
    cpu_timers& mine = here();
    nanos_t next = std::min(sched_next_event(), mine.queue(timer_call::at_once).next_deadline());
    if (!timer_deferred_due())
        next = std::min(next, mine.next_deferred());
    if (next != forever)
        timer_want(next);
}

bool timer_deferred_due() { return here().deferred.load(std::memory_order_relaxed); }

// With interrupts on: kernel code stays on its CPU while it does not sleep.
void timer_run_deferred() {
    constexpr unsigned most = 8;
    if (!timer_deferred_due())
        return;
    CHECK_ASSERT(cpu::interrupts_enabled() && cpu_held_locks().count == 0);
    cpu_timers& mine = here();
    const nanos_t begun = now();
    unsigned n = 0;
    while (n < most && mine.queue(timer_call::deferred).fire_first(begun))
        n++;
    // Whoever is here has no more to do with them than others: as long as it took, the next wait.
    const nanos_t ended = now();
    cpu::interrupts_push_off();
    mine.deferred.store(false, std::memory_order_relaxed);
    mine.deferred_until = n == most ? ended + (ended - begun) : 0;
    timer_program_next();
    cpu::interrupts_pop_off();
}

nanos_t wall_clock_offset() {
    const nanos_t set = wall_clock_set.load();
    return set ? set : boot_wall_clock();
}

void set_wall_clock(nanos_t offset) {
    wall_clock_set.store(offset);
    cpu::interrupts_push_off();
    for (unsigned i = 0; i < cpu::count(); i++)
        if (i != cpu::id())
            cpu::send_reschedule(i);
    timer_program_next();
    cpu::interrupts_pop_off();
}

// timer_event: a function that is called at a time. What becomes of one: kernel/sched/timer.cc.
#pragma once

#include "lib/avl_tree.h"
#include "lib/home.h"
#include "lib/no_alloc.h"
#include "lib/thread_annotations.h"
#include "lib/types.h"

#include <cstdint>

struct timer_queue; // kernel/sched/timer.cc

// What a deadline is a time of: now(), or the wall clock, which may be set.
enum class timer_clock : uint8_t { boot, wall };

// By whom an event's function is called.
enum class timer_call : uint8_t {
    // By the timer interrupt. It takes no lock but those that are for interrupt handlers, and is
    // short: ends of sleeps.
    at_once,
    // Soon after the interrupt, with interrupts on, by the thread that was interrupted: when that
    // goes back to user mode, makes a pause in long work, or idles. It takes any spin lock, and does
    // not sleep: signals, and whatever may wake many.
    deferred,
};

// A function called at a time. Owner's storage. Any thread may call any of these at any time.
class timer_event {
public:
    explicit timer_event(timer_call how = timer_call::at_once);
    // `fire(context)` may set() the event again. An interrupt handler may set one that is deferred,
    // for at once, and so have done what is nothing for a handler.
    void set(nanos_t deadline, void (*fire)(void*), void* context,
             timer_clock clock = timer_clock::boot);
    // After this the function is not running and will not run, unless somebody has set it
    // meanwhile. The caller holds no lock that it takes. (Called from the function itself: it will
    // not run again.)
    void cancel();
    bool armed();

private:
    friend struct timer_queue;
    const timer_call how_;
    home<timer_queue> home_;
    avl_node links_ GUARDED_BY(home_);
    nanos_t deadline_ GUARDED_BY(home_) = 0;
    void (*fire_)(void*) GUARDED_BY(home_) = nullptr;
    void* context_ GUARDED_BY(home_) = nullptr;
    timer_clock clock_ GUARDED_BY(home_) = timer_clock::boot;
};

// What the wall clock is ahead of now(). clock_settime sets it: then whatever waits for a time that
// it shows is looked at again, on every CPU.
nanos_t wall_clock_offset();
NO_ALLOC void set_wall_clock(nanos_t offset);

// ---- The timer interrupt -----------------------------------------------------------------------

// Makes this CPU's timer interrupt come no later than `deadline`. Interrupts off.
void timer_want(nanos_t deadline);
// Makes it come in time for all that waits on this CPU. Interrupts off.
void timer_program_next();
// Whether deferred events of this CPU are due. Interrupts off.
bool timer_deferred_due();
// Calls the functions of some of them. If there are more, the thread has its turn first: they take
// at most half of the time.
NO_ALLOC void timer_run_deferred();

// What the timer wants of the scheduler, which knows it and lies above it (kernel/sched/sched.cc):
// when that wants the next timer interrupt on this CPU (forever: none), and what it does then; and
// that the running thread looks for deferred events before it goes on in user mode. Interrupts off.
nanos_t sched_next_event();
NO_ALLOC void sched_tick(nanos_t time);
NO_ALLOC void sched_events_deferred();

// Long work: kernel code is not preempted, so whatever a user can stretch (by a length, a count, a
// depth) lets others run now and then, and ends early when its thread is to die.
//
// The rule: a loop whose number of steps a user chooses calls one of these in each step, or once
// for some thousand instructions' worth of small ones. No spin lock may be held: where one guards the
// work, it is let go of after some steps; sleep locks may be held,
// and whoever waits for them waits for all of the work anyway. user/tests/latency.c measures what
// is kept waiting.
#pragma once

#include "lib/result.h"
#include "lib/thread_annotations.h"

namespace long_work {

// Lets others run if it is their turn. For what must be done to the end: exit, unmap, release.
void pause();
// The same; EINTR when the running thread is about to die. The caller leaves as for any other
// errno, and nobody gets to see it.
status go_on();

// pause() by who holds a spin lock by `guard`, which lets go of it meanwhile: what was seen under
// it may have changed.
template <class Guard> void pause_without(Guard& guard) NO_THREAD_SAFETY_ANALYSIS {
    guard.unlock();
    pause();
    guard.lock();
}

} // namespace long_work

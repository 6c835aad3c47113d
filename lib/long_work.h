// Long work: kernel code is not preempted, so whatever a user can stretch (by a length, a count, a
// depth) lets others run now and then, and ends early when its thread is to die.
//
// The rule: a loop whose number of steps a user chooses calls one of these in each step, or once
// for some thousand instructions' worth of small ones. No spin lock may be held; sleep locks may,
// and whoever waits for them waits for all of the work anyway. user/tests/latency.c measures what
// is kept waiting.
#pragma once

#include "lib/result.h"

namespace long_work {

// Lets others run if it is their turn. For what must be done to the end: exit, unmap, release.
void pause();
// The same; EINTR when the running thread is about to die. The caller leaves as for any other
// errno, and nobody gets to see it.
status go_on();

} // namespace long_work

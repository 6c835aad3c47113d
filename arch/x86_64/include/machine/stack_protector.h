// The stack protector, in builds with checks. A function that has an array on its stack, or gives away
// the address of a variable there, puts a number above them that nobody can guess, the canary, and before it
// returns looks whether it is still that (-fstack-protector-strong; __stack_chk_fail in lib/runtime.cc).
//
// Each thread has a canary of its own, for its life: it is in cpu_data while the thread runs, and goes with
// it from one processor to the other. An idle thread has that with which its processor began.
#pragma once

#include <cstdint>

// A new one. Its lowest byte is 0, at which a string that is too long ends. 0 in builds without.
uint64_t stack_canary_make();

// For who runs while %gs, and with it the canary, is not what it was or will be.
#define NO_STACK_PROTECTOR __attribute__((no_stack_protector))

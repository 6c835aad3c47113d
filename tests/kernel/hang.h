// A machine that fails as it is told to, for tests of what it says then (tests/system/test_hang.py).
#pragma once

// The command line's `panic=`, when everything is up:
//
//   test                  a panic
//   check                 a test inside the kernel, at a check
//   deadlock              two threads, each with the lock that the other one wants
//   lost-wake-up          a thread that waits for the kernel, and that nobody wakes
//   loop                  a thread that loops in the kernel
//   loop-interrupts-off   the same with interrupts off
//   sleeper               a thread that sleeps for ever with a lock that another one wants
//
// Anything else does nothing.
void fail_on_purpose(const char* how);

// The command line's `plant=`: makes the mistake of this name (tests/kernel/planted). In builds with a
// sanitizer alone.
[[gnu::weak]] void plant_bug(const char* name);

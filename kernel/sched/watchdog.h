// The watchdog: a machine that does not go on says why, by a panic that tells of every thread.
//
// Every few seconds of the guest's time a timer interrupt on each CPU looks whether
//
//   * what runs there in the kernel still comes through the scheduler: by a sleep, by a return to
//     its program, or by long_work::pause(). An endless loop does not.
//   * the first in its run queue is another thread than before.
//   * the next CPU has had such an interrupt. One that has not is asked, by NMI, whether its
//     interrupts are off; if they always are, it loops so.
//   * (CPU 0) some threads sleep without end: for a lock, so that its holder sleeps, or for one of
//     the few things that the kernel itself must bring. A circle of those who wait for locks is a
//     dead-lock; a lock that nobody holds has lost a wake-up.
//
// None of this can be brought about by a program. What a program may cause (it waits for a pipe, a
// child, a futex that nobody ever wakes) is not judged; the same list tells of it when the machine
// is interrupted by an NMI from outside, as tools/spork does at its time-out.
//
// Nothing is counted or noted elsewhere for it. A look counts only if the CPU did look: a machine
// that was stopped is not blamed for that. One that its host gives hardly any time may be, so that
// the looks span a minute. The command line's
// `watchdog=` says after how many seconds it panics, and 0 is for debuggers, which stop one CPU
// while others go on.
#pragma once

// On each CPU, before its idle thread begins. Interrupts off.
void watchdog_start();

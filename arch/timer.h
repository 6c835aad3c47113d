// Time. now() never goes back and is the same on all CPUs.
#pragma once

#include "lib/types.h"

nanos_t now();             // since boot
nanos_t boot_wall_clock(); // CLOCK_REALTIME at boot (from the RTC), ns since 1970
uint64_t cycle_count();    // the TSC, of the calling CPU
nanos_t nanos_of_cycles(uint64_t cycles);
uint64_t cycles_per_second(); // as calibrated

// Programs this CPU's timer interrupt for the absolute time `deadline` (a past one fires at once).
// `forever` disarms it. Interrupts off.
void timer_program(nanos_t deadline);

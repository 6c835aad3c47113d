// Start-up of the clocks; what they tell is arch/timer.h.
#pragma once

#include "lib/types.h"

void clock_initialize();      // calibrates the TSC and the local APIC's timer; reads the RTC
void delay(nanos_t duration); // busy waiting, for devices

// The wall clock, as clock_settime may have changed it.
#pragma once

#include "lib/types.h"

// CLOCK_REALTIME: nanoseconds since 1970.
nanos_t wall_clock();

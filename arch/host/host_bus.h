// The lock that stands for the simulated machine's memory bus.
#pragma once

#include "lib/lock.h"

// Guards all page tables, pv lists and TLBs, and makes each access of a program one step: no flush
// falls between its translation and its load or store.
extern spin_lock host_bus;

// The load average: how many threads run or wait to, over the last minute, 5 and 15 minutes.
#pragma once

#include <array>
#include <cstdint>

// In fixed point, with 16 fractional bits.
std::array<uint64_t, 3> load_average();

// Begins to count. Once, before the first CPU's idle thread begins; interrupts off.
void load_average_start();

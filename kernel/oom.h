// What happens when memory has really run out.
#pragma once

#include "kernel/thread.h"

// Called by a thread whose access to `address` needs a page that cannot be had. Its process is
// killed, which the log says; false. One that must not be killed (init, or oom_score_adj -1000)
// has the process killed that holds most, waits a little for its memory, and is to try again: true.
// May sleep.
bool out_of_memory(thread& self, vaddr_t address, bool user_mode);

// How much would be had by killing it, in thousandths of memory, with its oom_score_adj added;
// as /proc/PID/oom_score shows it. 0 for one that is never chosen.
unsigned oom_score(process& p);
inline constexpr int oom_score_adj_min = -1000, oom_score_adj_max = 1000;

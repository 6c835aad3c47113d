// What happens when memory has really run out.
#pragma once

#include "kernel/process/thread.h"
#include "lib/no_alloc.h"

// The thread that searches, which holds no lock: start_up (kernel/main.cc), when it has nothing else
// to do any more. Never returns.
NO_ALLOC void out_of_memory_search(void*);

// Called by a thread whose access to `address` needs a page that cannot be had. A process of the
// user that holds most is killed, which the log says, and the access is to be tried again: true. If
// that process is the caller's own, or there is none, false. Init, and whoever has oom_score_adj
// -1000, is never chosen. May sleep, also under sleep locks; takes none and drops no reference.
NO_ALLOC bool out_of_memory(thread& self, vaddr_t address, bool user_mode);

// A system call has failed for want of memory: whether it is to be made again. So it is, whoever
// makes it, if the page daemon has freed pages. If memory is out and the caller is the superuser, who
// must be able to get in, a process is killed as above first. Others get ENOMEM.
NO_ALLOC bool out_of_memory_in_call(thread& self);

// How much would be had by killing it, in thousandths of memory, with its oom_score_adj added;
// as /proc/PID/oom_score shows it. 0 for one that is never chosen.
unsigned oom_score(process& p);
inline constexpr int oom_score_adj_min = -1000, oom_score_adj_max = 1000;

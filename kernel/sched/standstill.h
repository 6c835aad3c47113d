// standstill: for as long as one exists, nothing else runs: the other CPUs wait in the scheduler,
// and this one takes no interrupts. So everything can be looked at without locks, at one instant.
//
// The other CPUs stop where they would switch threads: there no spin lock is held, and what a
// sleep lock guards is in the state in which its holder went to sleep. Constructing waits for
// them: a CPU in the kernel comes to a switch by itself, one in user mode is interrupted.
//
// Not for hot paths: it costs every CPU an interrupt, and stops everybody for the whole look.
#pragma once

#include "lib/thread_annotations.h"

#include <atomic>
#include <cstdint>

class standstill {
public:
    // May sleep, for another one's end. Holds no spin lock, and no sleep lock of a rank from
    // standstill on.
    standstill() NO_THREAD_SAFETY_ANALYSIS;
    ~standstill() NO_THREAD_SAFETY_ANALYSIS;
    standstill(const standstill&) = delete;

    // The scheduler's side, with interrupts off: park() waits until the standstill is over.
    static bool wanted() { return under_way.load(std::memory_order_relaxed) != 0; }
    static void park();

private:
    static std::atomic<uint64_t> under_way; // the number of the standstill under way; 0: none
};

// What it wants of the scheduler, which knows it: that CPU `cpu`, another one, comes to a switch
// soon. Interrupts off.
void sched_ask_to_yield(unsigned cpu);

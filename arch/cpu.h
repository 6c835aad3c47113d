// The processor, as machine-independent code sees it. Implemented by arch/x86_64 and, with one
// CPU for each host thread, by arch/host.
#pragma once

#include "lib/types.h"

#include <cstdint>

struct thread;

inline constexpr unsigned max_cpus = 16;

namespace cpu {
unsigned id();    // of the calling CPU, 0..count()-1; stable only with interrupts off
unsigned count(); // CPUs that run threads

// Interrupts off, nested: each push needs its pop, and the last pop restores what was before
// the first push.
void interrupts_push_off();
void interrupts_pop_off();
bool interrupts_enabled();
// Whether an interrupt handler runs on the calling CPU; for assertions.
bool in_interrupt();

// What a CPU does in a loop that waits for another CPU: a pause and, if interrupts are off,
// answering TLB shootdowns that are addressed to it.
void relax();

thread* current(); // the running thread; null early in boot
void set_current(thread* t);

// Each CPU has counters of its own, by number; what they count is said by vm/phys/uvmexp.h. Adding
// is one instruction, in any context. Who reads another CPU's sees whole values, a moment old.
inline constexpr unsigned counter_count = 64;
void count(unsigned counter, uint64_t by);
uint64_t counted(unsigned cpu, unsigned counter);
// Adds the calling CPU's first `n` counters to `to`, each to its own, or takes them from it.
// Interrupts are off.
void add_counters(uint64_t* to, unsigned n);
void subtract_counters(uint64_t* from, unsigned n);

// Asks another CPU to run its scheduler on its way back to user mode or out of idle.
void send_reschedule(unsigned cpu);
// Asks another CPU whether its interrupts are on, also if they are not; the answer, by which the
// question is forgotten, comes some time later.
void ask_interrupts(unsigned cpu);
enum class answer : uint8_t { none, on, off };
answer interrupts_when_asked(unsigned cpu);
// Waits for an interrupt. Called with interrupts off; enables them and halts in one step, so that
// a wake-up cannot be lost in between; returns with interrupts off.
void halt_until_interrupt();
// Lets interrupts in while `work` runs. Called with interrupts off, and none of the above holds
// them off.
void call_with_interrupts_on(void (*work)());
} // namespace cpu

#include <machine/cpu_inline.h> // IWYU pragma: export; some of the above, inline

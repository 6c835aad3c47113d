// CPUs that are host threads. See arch/host/host_machine.h.
#include "arch/cpu.h"

#include "arch/timer.h"
#include "lib/assert.h"

#include "host_machine.h"
#include "host_thread.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <sched.h>

namespace {

std::mutex numbering;
bool number_taken[max_cpus]; // guarded by numbering

std::atomic<uint64_t> counters[max_cpus][cpu::counter_count];

unsigned take_number() {
    std::lock_guard guard(numbering);
    for (unsigned i = 0; i < max_cpus; i++) {
        if (!number_taken[i]) {
            number_taken[i] = true;
            return i;
        }
    }
    // Without self(), which the caller is constructing.
    std::fprintf(stderr, "host: more than %u threads at once call into vm/\n", max_cpus);
    std::abort();
}

} // namespace

host_thread::host_thread() : cpu(take_number()) {}

host_thread::~host_thread() {
    if (thread_locks.count != 0 || cpu_locks.count != 0 || interrupt_depth != 0) {
        std::fprintf(stderr,
                     "host: a thread ends with %u sleep locks, %u spin locks and %u "
                     "interrupts_push_off\n",
                     thread_locks.count, cpu_locks.count, interrupt_depth);
        std::abort();
    }
    std::lock_guard guard(numbering);
    number_taken[cpu] = false;
}

host_thread& host_thread::self() {
    static thread_local host_thread me;
    return me;
}

held_locks& thread_held_locks() { return host_thread::self().thread_locks; }
held_locks& cpu_held_locks() { return host_thread::self().cpu_locks; }

namespace cpu {

unsigned id() { return host_thread::self().cpu; }

unsigned count() {
    std::lock_guard guard(numbering);
    return static_cast<unsigned>(std::count(number_taken, number_taken + max_cpus, true));
}

void count(unsigned counter, uint64_t by) {
    counters[id()][counter].fetch_add(by, std::memory_order_relaxed);
}

uint64_t counted(unsigned cpu, unsigned counter) {
    return counters[cpu][counter].load(std::memory_order_relaxed);
}

void interrupts_push_off() {
    host_thread& me = host_thread::self();
    me.interrupt_depth++;
    me.interrupt_pushes++;
}

void interrupts_pop_off() {
    host_thread& me = host_thread::self();
    ASSERT(me.interrupt_depth != 0);
    me.interrupt_depth--;
}

bool in_interrupt() { return false; }

bool interrupts_enabled() { return host_thread::self().interrupt_depth == 0; }

void relax() { sched_yield(); }

thread* current() { return host_thread::self().as_thread(); }

} // namespace cpu

host_interrupt_counts host_interrupts() {
    const host_thread& me = host_thread::self();
    return {me.interrupt_pushes, me.interrupt_depth};
}

nanos_t now() {
    using clock = std::chrono::steady_clock;
    static const clock::time_point boot = clock::now();
    return static_cast<nanos_t>(std::chrono::nanoseconds(clock::now() - boot).count());
}

// uvmexp: the counters of the VM system, with NetBSD's names where it has them. Each CPU has its
// own (arch/cpu.h); they are summed when read. /proc/uvmexp shows the sums, /proc/uvmexp_cpu each
// CPU's. A ledger (kernel/process/ledger.h) is how far they moved while one thread was in one call,
// so every step of fork, exec and exit that costs something counts here, once.
#pragma once

#include "arch/cpu.h"
#include "vm/phys/uvmexp_table.h"

#include <cstdint>

enum class uvm_counter : uint8_t {
#define X(name, text) name,
    UVMEXP_COUNTERS(X)
#undef X
        count
};
inline constexpr unsigned uvm_counters = unsigned(uvm_counter::count);
static_assert(uvm_counters <= cpu::counter_count);
// The first so many are those that a ledger has: the rest is the page daemon's own work.
inline constexpr unsigned uvm_ledger_counters = unsigned(uvm_counter::pgswapin) + 1;

// Adds to the calling CPU's counter. Any context.
inline void uvm_count(uvm_counter counter, uint64_t n = 1) { cpu::count(unsigned(counter), n); }
uint64_t uvm_read(uvm_counter counter);                  // summed over CPUs
uint64_t uvm_read_on(unsigned cpu, uvm_counter counter); // of one
const char* uvm_counter_name(uvm_counter counter);

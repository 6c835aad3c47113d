// The TLBs of the simulated machine, and the lock that stands for its memory bus.
//
// A TLB is filled by accesses of its CPU and emptied by flushes alone: a mapping that changes
// without its flush stays in use. An access that a TLB allows but the page table does not, or that
// reaches a free page, is found when it happens, and is a panic.
#pragma once

#include "arch/prot.h"
#include "lib/lock.h"
#include "lib/types.h"

#include <cstdint>

struct pmap_machine;

// Guards all page tables, pv lists and TLBs, and makes each access of a program one step: no flush
// falls between its translation and its load or store.
extern spin_lock host_bus;

namespace tlb {

// The direct-map address at which the calling CPU makes an access to `va`; null: page fault.
uint8_t* translate(pmap_machine& m, vaddr_t va, vm_prot access) REQUIRES(host_bus);

// Forgets the translation of a page on all CPUs; of one page on the calling CPU.
void flush(pmap_machine& m, uint64_t va) REQUIRES(host_bus);
void flush_here(pmap_machine& m, uint64_t va) REQUIRES(host_bus);
// Whether no TLB knows `m`: it may be freed.
bool unknown(const pmap_machine& m) REQUIRES(host_bus);

} // namespace tlb

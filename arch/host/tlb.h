// The TLBs of the simulated machine.
//
// A TLB is filled by accesses of its CPU and emptied by flushes alone: a mapping that changes
// without its flush stays in use. An access that a TLB allows but the page table does not, or that
// reaches a free page, is found when it happens, and is a panic.
#pragma once

#include "arch/prot.h"
#include "lib/types.h"

#include "host_bus.h"

#include <cstdint>

struct pmap_machine;

namespace tlb {

// The direct-map address at which the calling CPU makes an access to `va`; null: page fault.
uint8_t* translate(pmap_machine& m, vaddr_t va, vm_prot access) REQUIRES(host_bus);

// Forgets the translation of a page on all CPUs; of one page on the calling CPU.
void flush(pmap_machine& m, uint64_t va) REQUIRES(host_bus);
void flush_here(pmap_machine& m, uint64_t va) REQUIRES(host_bus);
// Whether no TLB knows `m`: it may be freed.
bool unknown(const pmap_machine& m) REQUIRES(host_bus);

} // namespace tlb

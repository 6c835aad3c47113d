// The kernel's page tables as boot makes them. From vm_page_init() on they are pmap::kernel()'s.
#pragma once

#include "lib/types.h"

#include <cstddef>
#include <cstdint>

struct memory_range;

// Memory of the machine, usable or holding ACPI tables: what the direct map covers. `ram` is
// sorted, page aligned and without overlaps. Takes its pages from the_boot_info's ranges, and loads
// the tables on the calling CPU.
void paging_initialize(const memory_range* ram, size_t count);
void paging_load(); // on a further CPU

// Maps device registers, uncached, for good. Only before kernel_main().
volatile void* map_device(paddr_t address, size_t size);

// Whether the kernel can read `address` now; asks the page tables in use. For panics.
bool kernel_address_mapped(uint64_t address);

// What the boot code leaves for the rest of arch/x86_64.
#pragma once

#include "lib/types.h"

#include <cstdint>

// Physical address of the PML4 that maps the kernel: its image, the direct map, and the (still
// empty but for device registers) slot of kernel mappings. pmap::kernel() adopts it.
paddr_t kernel_page_table();

// Device registers that arch has mapped itself end here; pmap::kernel_enter() may use the rest of
// the kernel mappings.
inline constexpr uint64_t boot_device_mappings_size = 1 << 20;

// End of the direct map: no physical address from here on is in it.
paddr_t direct_map_end();

// Real-mode page for starting processors, never given to the allocator.
paddr_t trampoline_page();

// From the linker script.
extern "C" {
extern char kernel_physical_start[], kernel_physical_end[];
extern char kernel_text_start[], kernel_text_end[];
extern char kernel_rodata_start[], kernel_rodata_end[];
extern char kernel_data_start[], kernel_data_end[];
extern char boot_stack_guard[], boot_stack[], boot_stack_top[];
}

// What the boot loader left for the kernel, whichever way it came (GRUB's multiboot2 or PVH).
// Filled in by arch before kernel_main; pointers are direct-map addresses of memory that is
// reserved until boot_memory_done().
#pragma once

#include "lib/types.h"

#include <cstddef>
#include <span>

struct memory_range {
    paddr_t start;
    uint64_t size;
    bool usable; // ordinary RAM that nothing occupies (the kernel and modules already cut out)
};

struct boot_module {
    paddr_t start;
    uint64_t size;
};

struct boot_info {
    static constexpr size_t max_ranges = 64, max_modules = 8, max_command_line = 4096;
    memory_range ranges[max_ranges];
    size_t range_count = 0;
    boot_module modules[max_modules];
    size_t module_count = 0;
    char command_line[max_command_line] = {};
    paddr_t rsdp{};          // 0: search the BIOS area
    const char* loader = ""; // "GRUB 2.06", "PVH"
};

extern boot_info the_boot_info;

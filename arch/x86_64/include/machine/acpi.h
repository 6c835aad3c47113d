// What the ACPI tables say about the machine: processors, interrupt controllers, power management.
// Read once at boot, before the memory that holds the tables could be used for anything else.
#pragma once

#include "arch/cpu.h"
#include "lib/types.h"

#include <cstddef>
#include <cstdint>

struct acpi_register { // a generic address: memory (0) or port (1)
    uint8_t space = 0;
    uint8_t width = 0;
    uint64_t address = 0; // 0: there is none
};

struct acpi_info {
    static constexpr size_t max_io_apics = 4;

    uint32_t lapic_ids[max_cpus] = {}; // of the enabled processors, in the table's order
    size_t cpu_count = 0;
    size_t cpus_left_out = 0; // more than max_cpus, or with an id that xAPIC cannot name
    paddr_t lapic{0xfee0'0000};

    struct io_apic {
        paddr_t address;
        uint32_t first_interrupt; // global number of its input 0
    } io_apics[max_io_apics] = {};
    size_t io_apic_count = 0;

    struct isa_line {
        uint32_t interrupt; // global number
        bool active_low;
        bool level;
        bool told; // by the tables; else it is what a PC's is
    } isa[16] = {};

    // Where the configuration space of PCI's first segment lies in memory, for these buses; 0: it
    // does not.
    uint64_t ecam = 0;
    uint8_t ecam_first_bus = 0, ecam_last_bus = 0;

    uint16_t pm1a_control = 0, pm1b_control = 0; // ports; 0: there is none
    uint8_t sleep_type_a = 0, sleep_type_b = 0;  // for S5, soft off
    uint16_t smi_command = 0;
    uint8_t acpi_enable = 0;
    uint16_t pm_timer = 0;
    bool pm_timer_32_bits = false;
    acpi_register reset;
    uint8_t reset_value = 0;
    uint8_t century_register = 0; // in the real-time clock; 0: there is none
};

extern acpi_info acpi;

// `rsdp` as the loader gave it; 0 looks for it in the BIOS's areas. Everything must lie in the boot
// page tables' 4 GiB. Without tables: one processor, and what a PC had before them.
void acpi_initialize(paddr_t rsdp);

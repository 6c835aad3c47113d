// PCI's configuration space: in memory (ECAM, PCI Express 5.0, 7.2.2) where ACPI says so, else
// behind the two ports of PCI Local Bus 3.0, 3.2.2.3.2. And device registers, mapped when a driver
// asks.
#include "arch/pci.h"

#include "arch/machine.h"
#include "arch/pmap.h"
#include "lib/assert.h"
#include "lib/lock.h"

#include <machine/acpi.h>
#include <machine/boot.h>
#include <machine/instructions.h>
#include <machine/layout.h>

namespace {

constexpr uint16_t address_port = 0xcf8, data_port = 0xcfc;
constexpr uint64_t ecam_bus_size = 1 << 20;

spin_lock port_lock{lock_rank::device, "pci"}; // the two ports belong together
volatile uint32_t* ecam[256];                  // where it is mapped; null: through the ports
uint64_t next_device_va = kernel_mappings_base + boot_device_mappings_size;

volatile uint32_t* in_memory(pci_address a, unsigned offset) {
    volatile uint32_t* bus = ecam[a.bus];
    return bus ? bus + ((a.device << 15 | a.function << 12 | offset) >> 2) : nullptr;
}

void select(pci_address a, unsigned offset) REQUIRES(port_lock) {
    out32(address_port, 1u << 31 | uint32_t{a.bus} << 16 | uint32_t{a.device} << 11 |
                            uint32_t{a.function} << 8 | offset);
}

} // namespace

void pci_open_bus(uint8_t bus) {
    if (!acpi.ecam || bus < acpi.ecam_first_bus || bus > acpi.ecam_last_bus || ecam[bus])
        return;
    const uint64_t at =
        acpi.ecam + bus * ecam_bus_size; // it begins at bus 0, wherever the first one is
    if (auto mapped = machine_map_device(paddr_t(at), ecam_bus_size))
        ecam[bus] = static_cast<volatile uint32_t*>(*mapped);
}

uint32_t pci_config_read(pci_address address, unsigned offset) {
    ASSERT(offset < 256 && offset % 4 == 0);
    if (volatile uint32_t* at = in_memory(address, offset))
        return *at;
    lock_guard guard(port_lock);
    select(address, offset);
    return in32(data_port);
}

void pci_config_write(pci_address address, unsigned offset, uint32_t value) {
    ASSERT(offset < 256 && offset % 4 == 0);
    if (volatile uint32_t* at = in_memory(address, offset)) {
        *at = value;
        return;
    }
    lock_guard guard(port_lock);
    select(address, offset);
    out32(data_port, value);
}

expected<volatile void*> machine_map_device(paddr_t address, size_t size) {
    const uint64_t start = next_device_va;
    const uint64_t bytes = page_round_up(address.page_offset() + size);
    ASSERT(start + bytes <= kernel_stacks_base);
    for (uint64_t at = 0; at < bytes; at += page_size) {
        status mapped =
            pmap::kernel_enter(vaddr_t(start + at), address.page_down() + at, vm_prot::rw, true);
        if (!mapped) {
            if (at)
                pmap::kernel_remove(vaddr_t(start), at);
            return fail(mapped.error());
        }
    }
    next_device_va += bytes;
    return reinterpret_cast<volatile void*>(start + address.page_offset());
}

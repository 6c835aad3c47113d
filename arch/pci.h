// PCI's configuration space, as the machine reaches it.
#pragma once

#include "lib/types.h"

#include <cstdint>

struct pci_address {
    uint8_t bus, device, function; // 5 and 3 bits
};

// Before a bus's functions are asked, in one thread: how they will be.
void pci_open_bus(uint8_t bus);
// The aligned 32 bits at `offset`, below 256. All ones where nothing is. Any context.
uint32_t pci_config_read(pci_address address, unsigned offset);
void pci_config_write(pci_address address, unsigned offset, uint32_t value);

// Addresses for memory of devices to which the firmware has given none: below 4 GiB, where neither
// memory nor anything but PCI is.
inline constexpr paddr_t pci_window_start{0xf000'0000}, pci_window_end{0xfec0'0000};

// PCI: the functions that a scan of the buses finds, their memory and their interrupts.
//
// All are found at boot, by one thread, before any driver starts, and stay for good; then a function
// is its driver's.
#pragma once

#include "arch/machine.h"
#include "arch/pci.h"
#include "lib/list.h"
#include "lib/result.h"

#include <cstddef>
#include <cstdint>

class pci_function {
public:
    explicit pci_function(pci_address address) : address(address) {}

    // The aligned 32 bits at an offset below 256; and 8 or 16 of them.
    uint32_t read(unsigned offset) const { return pci_config_read(address, offset); }
    uint16_t read16(unsigned offset) const {
        return uint16_t(read(offset & ~3u) >> (offset & 2) * 8);
    }
    uint8_t read8(unsigned offset) const { return uint8_t(read(offset & ~3u) >> (offset & 3) * 8); }
    void write(unsigned offset, uint32_t value) { pci_config_write(address, offset, value); }

    uint16_t vendor() const { return read16(0); }
    uint16_t device() const { return read16(2); }
    // Where the first capability `id` behind the one at `after` is (0: the first of all); 0: there
    // is none. At least `size` bytes of it lie in configuration space.
    unsigned find_capability(uint8_t id, size_t size, unsigned after = 0) const;
    // Maps a part of a base address register's memory, for good; gives the register an address if
    // the firmware has not. ENODEV: there is no such memory. ENOSPC: no address is left. ENOMEM.
    expected<volatile void*> map(unsigned bar, uint64_t offset, uint64_t size);
    // Lets it answer at its addresses, and read and write memory by itself.
    void enable();
    // From here on it touches no memory.
    void stop();
    // Has its interrupts call `handler`: the first message of MSI-X, or else its line.
    status use_message(interrupt_handler& handler); // ENODEV, ENOSPC, ENOMEM
    status use_line(interrupt_handler& handler);    // ENODEV

    const pci_address address;
    list_node of_all;

private:
    friend void pci_scan();
    friend class pci_memory;
    struct range {
        uint64_t start = 0, size = 0; // size 0: none
        uint64_t end() const { return start + size; }
    };
    void find_memory();
    void size_registers(unsigned count);
    status assign(unsigned bar);
    uint8_t line() const;

    range bars_[6]; // of memory; one of 64 bits leaves the next one empty
    bool wide_[6] = {};
    range window_[2]; // a bridge's, for what is behind it
};

// Finds all functions. Those for which there is no memory are left out, with a line in the log.
void pci_scan();
// The next one; the first for null. Null at the end.
pci_function* pci_next(pci_function* after);

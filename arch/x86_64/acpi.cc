// Reading the ACPI tables (ACPI specification 6.5, chapter 5.2).
#include <machine/acpi.h>

#include "arch/memory.h"
#include "kernel/base/printk.h"

#include <cstring>
#include <machine/apic.h>

acpi_info acpi;

namespace {

constexpr uint64_t reachable = uint64_t{4} << 30;

struct [[gnu::packed]] rsdp_table {
    char signature[8];
    uint8_t checksum;
    char oem[6];
    uint8_t revision;
    uint32_t rsdt;
    uint32_t length; // from here on since revision 2
    uint64_t xsdt;
    uint8_t extended_checksum;
    uint8_t reserved[3];
};

struct [[gnu::packed]] table_header {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem[6], oem_table[8];
    uint32_t oem_revision, creator, creator_revision;

    const uint8_t* bytes() const { return reinterpret_cast<const uint8_t*>(this); }
    template <class T> T at(size_t offset) const { // 0 beyond the end
        T value{};
        if (offset + sizeof(T) <= length)
            memcpy(&value, bytes() + offset, sizeof(T));
        return value;
    }
};
static_assert(sizeof(table_header) == 36);

bool sums_to_zero(const void* data, size_t size) {
    uint8_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = static_cast<uint8_t>(sum + static_cast<const uint8_t*>(data)[i]);
    return sum == 0;
}

// Whether it can be read. Firmware's addresses may be anything, so nothing is added to them.
constexpr bool within_reach(uint64_t address, uint64_t size) {
    return address != 0 && size <= reachable && address <= reachable - size;
}

// The table at `address` if it is whole, or null.
const table_header* table_at(uint64_t address) {
    if (!within_reach(address, sizeof(table_header)))
        return nullptr;
    const auto* t = direct_map_as<table_header>(paddr_t(address));
    if (t->length < sizeof *t || !within_reach(address, t->length))
        return nullptr;
    return sums_to_zero(t, t->length) ? t : nullptr;
}

const rsdp_table* rsdp_at(uint64_t address) {
    const auto* r = direct_map_as<rsdp_table>(paddr_t(address));
    return memcmp(r->signature, "RSD PTR ", 8) == 0 && sums_to_zero(r, 20) ? r : nullptr;
}

const rsdp_table* find_rsdp(paddr_t given) {
    if (within_reach(given.value(), sizeof(rsdp_table)))
        if (const rsdp_table* r = rsdp_at(given.value()))
            return r;
    // The first KiB of the extended BIOS data area, whose segment is at 0x40e; then the BIOS
    // itself.
    uint64_t ebda = uint64_t{*direct_map_as<uint16_t>(paddr_t(0x40e))} << 4;
    if (ebda >= 0x400 && ebda < 0xa0000)
        for (uint64_t a = ebda; a < ebda + 1024; a += 16)
            if (const rsdp_table* r = rsdp_at(a))
                return r;
    for (uint64_t a = 0xe0000; a < 0x100000; a += 16)
        if (const rsdp_table* r = rsdp_at(a))
            return r;
    return nullptr;
}

void read_madt(const table_header& madt) {
    acpi.lapic = paddr_t(madt.at<uint32_t>(36));
    size_t offset = 44;
    while (offset + 2 <= madt.length) {
        uint8_t type = madt.at<uint8_t>(offset), length = madt.at<uint8_t>(offset + 1);
        if (length < 2)
            break;
        auto add_cpu = [](uint32_t id, uint32_t flags) {
            if (!(flags & 1)) // not enabled
                return;
            if (acpi.cpu_count < max_cpus && id < 0xff)
                acpi.lapic_ids[acpi.cpu_count++] = id;
            else
                acpi.cpus_left_out++;
        };
        switch (type) {
        case 0: // processor local APIC
            add_cpu(madt.at<uint8_t>(offset + 3), madt.at<uint32_t>(offset + 4));
            break;
        case 9: // processor local x2APIC
            add_cpu(madt.at<uint32_t>(offset + 4), madt.at<uint32_t>(offset + 8));
            break;
        case 1: // I/O APIC
            if (acpi.io_apic_count < acpi_info::max_io_apics)
                acpi.io_apics[acpi.io_apic_count++] = {paddr_t(madt.at<uint32_t>(offset + 4)),
                                                       madt.at<uint32_t>(offset + 8)};
            break;
        case 2: { // interrupt source override
            uint8_t line = madt.at<uint8_t>(offset + 3);
            auto flags = madt.at<uint16_t>(offset + 8);
            if (line < 16)
                acpi.isa[line] = {madt.at<uint32_t>(offset + 4), (flags & 3) == 3,
                                  (flags >> 2 & 3) == 3, true};
            break;
        }
        case 5: // 64-bit address of the local APICs
            acpi.lapic = paddr_t(madt.at<uint64_t>(offset + 4));
            break;
        default: break;
        }
        offset += length;
    }
}

// The sleep types for S5 stand in the DSDT's bytecode as Name(_S5_, Package(){a, b, ...}); reading
// just this needs no interpreter: NameOp (8) '_S5_' PackageOp (0x12) PkgLength NumElements, then
// two small integers.
void read_s5(const table_header& dsdt) {
    const uint8_t* code = dsdt.bytes();
    for (size_t i = sizeof dsdt; i + 16 < dsdt.length; i++) {
        if (memcmp(code + i, "_S5_", 4) != 0 || code[i + 4] != 0x12)
            continue;
        size_t p = i + 5;
        p += (code[p] >> 6) + 1; // PkgLength: its top two bits count further bytes
        p++;                     // NumElements
        uint8_t* const into[] = {&acpi.sleep_type_a, &acpi.sleep_type_b};
        for (uint8_t* value : into) {
            if (p + 1 >= dsdt.length)
                return;
            if (code[p] == 0x0a) // BytePrefix; else ZeroOp or OneOp, which are their own value
                p++;
            *value = code[p++] & 7;
        }
        return;
    }
}

void read_fadt(const table_header& fadt) {
    acpi.smi_command = static_cast<uint16_t>(fadt.at<uint32_t>(48));
    acpi.acpi_enable = fadt.at<uint8_t>(52);
    acpi.pm1a_control = static_cast<uint16_t>(fadt.at<uint32_t>(64));
    acpi.pm1b_control = static_cast<uint16_t>(fadt.at<uint32_t>(68));
    acpi.pm_timer = static_cast<uint16_t>(fadt.at<uint32_t>(76));
    acpi.century_register = fadt.at<uint8_t>(108);
    auto flags = fadt.at<uint32_t>(112);
    acpi.pm_timer_32_bits = flags >> 8 & 1;
    if (flags >> 10 & 1) {
        acpi.reset = {fadt.at<uint8_t>(116), fadt.at<uint8_t>(117), fadt.at<uint64_t>(120)};
        acpi.reset_value = fadt.at<uint8_t>(128);
    }
    uint64_t dsdt = fadt.at<uint64_t>(140);
    if (const table_header* t = table_at(dsdt ? dsdt : fadt.at<uint32_t>(40)))
        read_s5(*t);
}

// PCI Firmware Specification 3.3, 4.1.2: allocations of 16 bytes from offset 44 on.
void read_mcfg(const table_header& mcfg) {
    for (size_t at = 44; at + 16 <= mcfg.length; at += 16) {
        if (mcfg.at<uint16_t>(at + 8) != 0) // the segment
            continue;
        acpi.ecam = mcfg.at<uint64_t>(at);
        acpi.ecam_first_bus = mcfg.at<uint8_t>(at + 10);
        acpi.ecam_last_bus = mcfg.at<uint8_t>(at + 11);
    }
}

void read_table(uint64_t address) {
    const table_header* t = table_at(address);
    if (!t)
        return;
    if (memcmp(t->signature, "APIC", 4) == 0)
        read_madt(*t);
    else if (memcmp(t->signature, "FACP", 4) == 0)
        read_fadt(*t);
    else if (memcmp(t->signature, "MCFG", 4) == 0)
        read_mcfg(*t);
}

} // namespace

void acpi_initialize(paddr_t given) {
    for (uint32_t i = 0; i < 16; i++)
        acpi.isa[i] = {i, false, false, false};

    const rsdp_table* rsdp = find_rsdp(given);
    if (!rsdp) {
        printk("acpi: no tables");
        return;
    }
    const table_header* root = nullptr;
    size_t entry_size = 8;
    if (rsdp->revision >= 2)
        root = table_at(rsdp->xsdt);
    if (!root) {
        root = table_at(rsdp->rsdt);
        entry_size = 4;
    }
    if (!root) {
        printk("acpi: the root table is damaged");
        return;
    }
    for (size_t o = sizeof(table_header); o + entry_size <= root->length; o += entry_size)
        read_table(entry_size == 8 ? root->at<uint64_t>(o) : root->at<uint32_t>(o));
    if (acpi.cpus_left_out)
        printk("acpi: %zu more processors than the kernel can use", acpi.cpus_left_out);
}

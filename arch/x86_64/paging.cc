// The kernel's page tables, made once at boot: its image with the rights of each part, all memory
// at the direct map, and device registers. The layout is in <machine/layout.h>.
//
// Nothing is both writable and executable, under any of its addresses: the direct map has the pages
// of the kernel's text and read-only data read-only.
#include <machine/paging.h>

#include "arch/boot_info.h"
#include "arch/memory.h"
#include "lib/assert.h"

#include <algorithm>
#include <machine/boot.h>
#include <machine/cpu_features.h>
#include <machine/instructions.h>
#include <machine/layout.h>
#include <machine/sanitize.h>

namespace {

constexpr uint64_t bit_present = 1 << 0, bit_write = 1 << 1, bit_no_cache = 1 << 4;
constexpr uint64_t bit_write_through = 1 << 3, bit_accessed = 1 << 5, bit_dirty = 1 << 6;
constexpr uint64_t bit_large = 1 << 7, bit_global = 1 << 8, bit_no_execute = uint64_t{1} << 63;
constexpr uint64_t address_bits = 0x000f'ffff'ffff'f000;

constexpr uint64_t read_only = bit_present | bit_global | bit_accessed | bit_dirty | bit_no_execute;
constexpr uint64_t read_write = read_only | bit_write;
constexpr uint64_t read_execute = read_only & ~bit_no_execute;
constexpr uint64_t device = read_write | bit_no_cache | bit_write_through;

constexpr uint64_t boot_tables_reach = uint64_t{4} << 30; // what start32.S has mapped

paddr_t root;
uint64_t end_of_direct_map;
uint64_t next_device_va = kernel_mappings_base;

constexpr unsigned level_shift(unsigned level) {
    return page_shift + 9 * (level - 1);
} // 1 is a page table
constexpr uint64_t level_size(unsigned level) { return uint64_t{1} << level_shift(level); }
constexpr size_t index_of(uint64_t va, unsigned level) { return va >> level_shift(level) & 511; }

// A zeroed page that nobody will ever give back, off the end of the largest range that is mapped
// already.
paddr_t early_page() {
    memory_range* best = nullptr;
    for (size_t i = 0; i < the_boot_info.range_count; i++) {
        memory_range& r = the_boot_info.ranges[i];
        if (r.usable && r.start.value() + r.size <= boot_tables_reach &&
            (!best || r.size > best->size))
            best = &r;
    }
    if (!best || best->size < page_size)
        panic("not enough memory for the kernel's page tables");
    best->size -= page_size;
    paddr_t page = best->start + best->size;
    zero_page(direct_map(page));
    return page;
}

// The entry for `va` at `level`, with the tables above it made.
uint64_t& entry_of(uint64_t va, unsigned level) {
    paddr_t table = root;
    for (unsigned l = 4; l > level; l--) {
        uint64_t& e = direct_map_as<uint64_t>(table)[index_of(va, l)];
        if (!(e & bit_present))
            e = early_page().value() | bit_present | bit_write;
        ASSERT(!(e & bit_large));
        table = paddr_t(e & address_bits);
    }
    return direct_map_as<uint64_t>(table)[index_of(va, level)];
}

// Maps [va, va + size) to pa with the largest pages that fit.
void map(uint64_t va, uint64_t pa, uint64_t size, uint64_t bits) {
    ASSERT(((va | pa | size) & page_mask) == 0);
    unsigned largest = cpu_features.gigabyte_pages ? 3 : 2;
    while (size > 0) {
        unsigned level = largest;
        while (level > 1 && (((va | pa) & (level_size(level) - 1)) || size < level_size(level)))
            level--;
        uint64_t& e = entry_of(va, level);
        ASSERT(e == 0);
        e = pa | bits | (level > 1 ? bit_large : 0);
        va += level_size(level);
        pa += level_size(level);
        size -= level_size(level);
    }
}

uint64_t physical(const char* symbol) {
    return reinterpret_cast<uint64_t>(symbol) - kernel_image_base;
}

void map_image_part(const char* start, const char* end, uint64_t bits) {
    map(reinterpret_cast<uint64_t>(start), physical(start), static_cast<uint64_t>(end - start),
        bits);
}

// Memory in the direct map; the part of it that overlaps the kernel's text and read-only data
// without the right to write.
void map_directly(uint64_t start, uint64_t end) {
    uint64_t constant_start = physical(kernel_text_start);
    uint64_t constant_end = physical(kernel_rodata_end);
    auto part = [](uint64_t from, uint64_t to, uint64_t bits) {
        if (from < to)
            map(direct_map_base + from, from, to - from, bits);
    };
    part(start, std::min(end, constant_start), read_write);
    part(std::max(start, constant_start), std::min(end, constant_end), read_only);
    part(std::max(start, constant_end), end, read_write);
    end_of_direct_map = std::max(end_of_direct_map, end);
}

} // namespace

void paging_initialize(const memory_range* ram, size_t count) {
    root = early_page();
    map_image_part(kernel_text_start, kernel_text_end, read_execute);
    map_image_part(kernel_rodata_start, kernel_rodata_end, read_only);
    map_image_part(kernel_data_start, boot_stack_guard, read_write);
    map_image_part(boot_stack, kernel_data_end, read_write); // all but the guard page
    for (size_t i = 0; i < count; i++)
        map_directly(ram[i].start.value(), ram[i].start.value() + ram[i].size);
    // Slots that every pmap shares must exist before the first pmap does.
    entry_of(kernel_mappings_base, 3);
    shadow_map(
        ram, count,
        {.entry = [](uint64_t va) -> uint64_t& { return entry_of(va, 1); }, .page = early_page},
        read_write);
    paging_load();
    shadow_use();
}

void paging_load() { write_cr3(root.value()); }

volatile void* map_device(paddr_t address, size_t size) {
    uint64_t va = next_device_va + address.page_offset();
    uint64_t pages = page_round_up(address.page_offset() + size);
    ASSERT(next_device_va + pages <= kernel_mappings_base + boot_device_mappings_size);
    map(next_device_va, address.page_down().value(), pages, device);
    next_device_va += pages;
    return reinterpret_cast<volatile void*>(va);
}

paddr_t kernel_page_table() { return root; }
paddr_t direct_map_end() { return paddr_t(end_of_direct_map); }

bool kernel_address_mapped(uint64_t address) {
    if (address < direct_map_base)
        return false;
    uint64_t table = read_cr3() & address_bits;
    for (unsigned level = 4; level > 0; level--) {
        if (end_of_direct_map && table >= end_of_direct_map)
            return false;
        uint64_t e = direct_map_as<uint64_t>(paddr_t(table))[index_of(address, level)];
        if (!(e & bit_present))
            return false;
        if (e & bit_large)
            return true;
        table = e & address_bits;
    }
    return true;
}

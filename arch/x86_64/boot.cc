// From the boot loader to kernel_main(): what was handed over becomes the_boot_info, and the boot
// processor gets its tables, rights and clocks.
#include "arch/boot_info.h"

#include "arch/memory.h"
#include "arch/upcalls.h"
#include "kernel/base/printk.h"
#include "kernel/base/random.h"
#include "lib/assert.h"

#include <algorithm>
#include <cstring>
#include <machine/acpi.h>
#include <machine/apic.h>
#include <machine/boot.h>
#include <machine/clock.h>
#include <machine/console.h>
#include <machine/instructions.h>
#include <machine/paging.h>
#include <machine/percpu.h>
#include <machine/range_list.h>
#include <machine/stack_protector.h>

constinit boot_info the_boot_info{};

namespace {

constexpr uint32_t multiboot2_magic = 0x36d7'6289, pvh_magic = 0x336e'c578;

// Types of memory, the same numbers in Multiboot2, in PVH and in the BIOS's E820.
constexpr uint32_t memory_usable = 1, memory_acpi = 3;

// The memory map as the firmware gave it: in any order, with overlaps, not page aligned.
range_list usable, occupied, with_tables;
paddr_t trampoline;
char strings[2048]; // the loader's texts, which would otherwise be lost with its memory
size_t strings_used;

alignas(16) char ist_stacks[ist_stack_count * ist_stack_size];

template <class T> const T* boot_pointer(uint64_t physical) {
    return direct_map_as<const T>(paddr_t(physical));
}

const char* keep_string(const char* s) {
    size_t n = strlen(s) + 1;
    if (n > sizeof strings - strings_used)
        return "";
    char* kept = strings + strings_used;
    memcpy(kept, s, n);
    strings_used += n;
    return kept;
}

void set_command_line(const char* s) {
    size_t n = std::min(strlen(s), boot_info::max_command_line - 1);
    memcpy(the_boot_info.command_line, s, n);
    the_boot_info.command_line[n] = 0;
}

void add_memory(uint64_t start, uint64_t size, uint32_t type) {
    uint64_t end = start + size;
    if (end <= start)
        return;
    if (type == memory_usable || type == memory_acpi)
        with_tables.add(start, end);
    if (type == memory_usable)
        usable.add(start, end);
    else
        occupied.add(start, end);
}

void add_module(uint64_t start, uint64_t size) {
    if (the_boot_info.module_count == boot_info::max_modules) {
        printk("boot: more than %zu modules", boot_info::max_modules);
        return;
    }
    the_boot_info.modules[the_boot_info.module_count++] = {paddr_t(start), size};
    occupied.add(start, start + size);
}

// ---- Multiboot2 (specification 3.6) ----------------------------------------------------------

struct multiboot2_tag {
    uint32_t type, size;
    const char* text(size_t offset) const { return reinterpret_cast<const char*>(this) + offset; }
    template <class T> T at(size_t offset) const {
        T value;
        memcpy(&value, text(offset), sizeof(T));
        return value;
    }
};

void read_multiboot2(uint32_t info) {
    constexpr uint32_t tag_end = 0, tag_command_line = 1, tag_loader = 2, tag_module = 3;
    constexpr uint32_t tag_memory_map = 6, tag_old_rsdp = 14, tag_new_rsdp = 15;

    uint32_t total = *boot_pointer<uint32_t>(info);
    the_boot_info.loader = "Multiboot2";
    for (uint64_t at = info + 8; at + sizeof(multiboot2_tag) <= uint64_t{info} + total;) {
        const auto& tag = *boot_pointer<multiboot2_tag>(at);
        if (tag.type == tag_end || tag.size < sizeof tag)
            break;
        switch (tag.type) {
        case tag_command_line: set_command_line(tag.text(8)); break;
        case tag_loader: the_boot_info.loader = keep_string(tag.text(8)); break;
        case tag_module: {
            auto start = tag.at<uint32_t>(8), end = tag.at<uint32_t>(12);
            add_module(start, end - start);
            break;
        }
        case tag_memory_map:
            for (size_t o = 16; o + 24 <= tag.size; o += tag.at<uint32_t>(8))
                add_memory(tag.at<uint64_t>(o), tag.at<uint64_t>(o + 8), tag.at<uint32_t>(o + 16));
            break;
        case tag_old_rsdp: // a copy of the table itself
        case tag_new_rsdp:
            if (tag.type == tag_new_rsdp || !the_boot_info.rsdp.value())
                the_boot_info.rsdp = paddr_t(at + 8);
            break;
        default: break;
        }
        at += (tag.size + 7) & ~7u;
    }
}

// ---- PVH (Xen's public/arch-x86/hvm/start_info.h) --------------------------------------------

// QEMU's qboot aligns none of them.
struct [[gnu::packed]] pvh_start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, command_line, rsdp;
    uint64_t memory_map; // since version 1
    uint32_t memory_map_count, reserved;
};
struct [[gnu::packed]] pvh_module {
    uint64_t start, size, command_line, reserved;
};
struct [[gnu::packed]] pvh_memory {
    uint64_t start, size;
    uint32_t type, reserved;
};

void read_pvh(const pvh_start_info& info) {
    the_boot_info.loader = "PVH";
    if (info.version < 1)
        panic("PVH start info of version %u has no memory map", info.version);
    if (info.command_line)
        set_command_line(boot_pointer<char>(info.command_line));
    the_boot_info.rsdp = paddr_t(info.rsdp);
    const auto* memory = boot_pointer<pvh_memory>(info.memory_map);
    for (uint32_t i = 0; i < info.memory_map_count; i++)
        add_memory(memory[i].start, memory[i].size, memory[i].type);
    const auto* modules = boot_pointer<pvh_module>(info.modules);
    // A module's command line is nobody's: QEMU 10's qboot leaves that word uninitialised.
    for (uint32_t i = 0; i < info.module_count; i++)
        add_module(modules[i].start, modules[i].size);
}

// ---- The memory map --------------------------------------------------------------------------

// Takes everything that is in use out of the usable memory and writes the rest down.
void settle_memory_map() {
    constexpr uint64_t low_memory_end = 0xa0000;

    usable.normalise();
    occupied.add(0, page_size); // the real-mode vectors; and a null pointer stays one
    occupied.add(reinterpret_cast<uint64_t>(kernel_physical_start),
                 reinterpret_cast<uint64_t>(kernel_physical_end));
    usable.subtract(occupied);
    for (const auto& r : usable) {
        uint64_t page = page_round_up(r.start);
        if (page + page_size <= std::min(r.end, low_memory_end)) {
            trampoline = paddr_t(page);
            break;
        }
    }
    if (trampoline.value()) {
        range_list taken;
        taken.add(trampoline.value(), trampoline.value() + page_size);
        usable.subtract(taken);
    }
    for (const auto& r : usable) {
        uint64_t start = page_round_up(r.start), end = page_round_down(r.end);
        if (start >= end)
            continue;
        if (the_boot_info.range_count == boot_info::max_ranges) {
            printk("boot: memory from %#lx on is left unused: too many ranges", start);
            break;
        }
        the_boot_info.ranges[the_boot_info.range_count++] = {paddr_t(start), end - start, true};
    }
    if (the_boot_info.range_count == 0)
        panic("the boot loader's memory map has no usable memory");
}

void build_page_tables() {
    static memory_range ram[range_list::capacity];
    size_t count = 0;
    with_tables.normalise();
    for (const auto& r : with_tables) {
        uint64_t start = page_round_down(r.start), end = page_round_up(r.end);
        if (count > 0) // two of them may share a page
            start = std::max(start, ram[count - 1].start.value() + ram[count - 1].size);
        if (start < end)
            ram[count++] = {paddr_t(start), end - start, true};
    }
    paging_initialize(ram, count);
}

extern "C" void (*const init_array_start[])(), (*const init_array_end[])();

void run_constructors() {
    for (auto* f = init_array_start; f != init_array_end; f++)
        (*f)();
}

} // namespace

paddr_t trampoline_page() { return trampoline; }

// Called by start32.S on boot_stack, with the boot page tables loaded and interrupts off.
extern "C" [[noreturn]] NO_STACK_PROTECTOR void boot_processor_main(uint32_t magic, uint32_t info) {
    percpu_load(cpus[0], 0, cpuid(1).ebx >> 24, reinterpret_cast<uint64_t>(boot_stack_top),
                reinterpret_cast<uint64_t>(ist_stacks));
    console_initialize();
    run_constructors();
    if (magic == multiboot2_magic)
        read_multiboot2(info);
    else if (boot_pointer<pvh_start_info>(info)->magic == pvh_magic)
        read_pvh(*boot_pointer<pvh_start_info>(info));
    else
        panic("started by an unknown boot loader");
    acpi_initialize(the_boot_info.rsdp);
    settle_memory_map();
    cpu_enable_features();
    build_page_tables();
    lapic_enable();
    ioapic_initialize();
    clock_initialize();
    random_init();
    cpus[0].stack_canary = stack_canary_make();
    kernel_main(the_boot_info);
}

// The machine as arch/x86_64 has set it up.
#include "arch/boot_info.h"
#include "arch/memory.h"
#include "arch/timer.h"
#include "kernel/base/panic.h"
#include "kernel/base/printk.h"
#include "kernel/sched/wall_clock.h"
#include "lib/string.h"
#include "tests/kernel/ktest.h"
#include "tests/kernel/ktest_threads.h"
#include "vm/phys/uvmexp.h"
#include "vm/phys/vm_page.h"

#include <machine/boot.h>
#include <machine/clock.h>
#include <machine/fpu.h>
#include <machine/fpu_area.h>
#include <machine/instructions.h>
#include <machine/kernel_stack.h>
#include <machine/layout.h>
#include <machine/paging.h>
#include <machine/range_list.h>

namespace {

constexpr uint64_t entry_present = 1, entry_write = 2, entry_user = 4, entry_large = 128;
constexpr uint64_t entry_no_execute = uint64_t{1} << 63, entry_address = 0x000f'ffff'ffff'f000;

struct rights {
    bool write, execute, user;
};

// Calls visit(pa, size, rights) for every page that a table maps.
template <class F> void each_mapping(paddr_t table, unsigned level, rights above, F visit) {
    for (unsigned i = level == 4 ? 256 : 0; i < 512; i++) {
        uint64_t e = direct_map_as<uint64_t>(table)[i];
        if (!(e & entry_present))
            continue;
        rights here{above.write && (e & entry_write), above.execute && !(e & entry_no_execute),
                    above.user && (e & entry_user)};
        if (level == 1 || (e & entry_large))
            visit(paddr_t(e & entry_address), uint64_t{1} << (12 + 9 * (level - 1)), here);
        else
            each_mapping(paddr_t(e & entry_address), level - 1, here, visit);
    }
}

[[gnu::noinline]] size_t count_callers(unsigned depth, std::span<uint64_t> out) {
    if (depth > 0) {
        size_t n = count_callers(depth - 1, out);
        asm volatile("");
        return n;
    }
    return backtrace_from(reinterpret_cast<uint64_t>(__builtin_frame_address(0)), out);
}

} // namespace

// Under no address is anything writable that is executable under any, and nothing is the user's.
KTEST(paging, writable_or_executable) {
    const uint64_t text = reinterpret_cast<uint64_t>(kernel_text_start) - kernel_image_base;
    const uint64_t text_end = reinterpret_cast<uint64_t>(kernel_rodata_end) - kernel_image_base;
    unsigned executable = 0;
    each_mapping(kernel_page_table(), 4, {true, true, true},
                 [&](paddr_t pa, uint64_t size, rights r) {
                     EXPECT(!r.user);
                     EXPECT(!(r.write && r.execute));
                     if (r.write)
                         EXPECT(pa.value() + size <= text || pa.value() >= text_end);
                     if (r.execute) {
                         EXPECT(pa.value() >= text && pa.value() + size <= text_end);
                         executable++;
                     }
                 });
    EXPECT(executable > 0);
}

// What the processor can refuse the kernel and programs, it refuses on each processor; and each has a canary,
// which is not that of another thread.
KTEST(cpu, has_its_defences_up) {
    constexpr uint64_t cr0_wp = 1 << 16, efer_nxe = 1 << 11;
    constexpr uint64_t cr4_umip = 1 << 11, cr4_smep = 1 << 20, cr4_smap = 1 << 21;
    const cpuid_result seven = cpuid(7);
    const uint64_t wanted = (seven.ecx >> 2 & 1 ? cr4_umip : 0) |
                            (seven.ebx >> 7 & 1 ? cr4_smep : 0) |
                            (seven.ebx >> 20 & 1 ? cr4_smap : 0);
    std::atomic<uint64_t> canaries[max_cpus] = {};
    on_all_cpus(cpu::count(), [&](unsigned i) {
        EXPECT(read_cr0() & cr0_wp);
        EXPECT(read_msr(MSR_EFER) & efer_nxe);
        EXPECT_EQ(read_cr4() & wanted, wanted);
        uint64_t canary;
        asm volatile("movq %%gs:%c1, %0" : "=r"(canary) : "i"(CPU_STACK_CANARY));
        canaries[i] = canary;
    });
#ifdef __SSP_STRONG__
    for (unsigned i = 0; i < cpu::count(); i++) {
        EXPECT(canaries[i] != 0 && (canaries[i] & 0xff) == 0);
        for (unsigned other = 0; other < i; other++)
            EXPECT(canaries[i] != canaries[other]);
    }
#endif
}

KTEST(paging, a_kernel_stack_has_nothing_below_it) {
    auto stack = kernel_stack_allocate();
    REQUIRE(stack.has_value());
    EXPECT(kernel_address_mapped(*stack));
    EXPECT(kernel_address_mapped(*stack + kernel_stack_size - 8));
    EXPECT(!kernel_address_mapped(*stack - 8));
    EXPECT(!kernel_address_mapped(*stack - page_size));
    kernel_stack_free(*stack);
    EXPECT(!kernel_address_mapped(reinterpret_cast<uint64_t>(boot_stack_guard)));
}

KTEST(paging, the_end_of_many_kernel_stacks_is_few_flushes) {
    kernel_stack_trim();
    constexpr size_t count = 300;
    static uint64_t stacks[count];
    size_t made = 0;
    for (; made < count; made++) {
        auto stack = kernel_stack_allocate();
        if (!stack)
            break;
        stacks[made] = *stack;
    }
    REQUIRE(made == count);
    const uint64_t before = uvm_read(uvm_counter::flushes_local);
    for (uint64_t stack : stacks)
        kernel_stack_free(stack);
    EXPECT(uvm_read(uvm_counter::flushes_local) - before < 20);
}

KTEST(boot, memory_map_is_sorted_and_free_of_the_kernel) {
    const uint64_t kernel = reinterpret_cast<uint64_t>(kernel_physical_start);
    const uint64_t kernel_end = reinterpret_cast<uint64_t>(kernel_physical_end);
    uint64_t last = 0;
    for (size_t i = 0; i < the_boot_info.range_count; i++) {
        const memory_range& r = the_boot_info.ranges[i];
        const uint64_t start = r.start.value(), end = start + r.size;
        EXPECT(r.start.page_aligned() && r.size % page_size == 0);
        EXPECT(start >= last && end <= direct_map_end().value());
        EXPECT(end <= kernel || start >= kernel_end);
        EXPECT(trampoline_page() < r.start || trampoline_page().value() >= end);
        for (size_t m = 0; m < the_boot_info.module_count; m++) {
            const boot_module& module = the_boot_info.modules[m];
            EXPECT(end <= module.start.value() || start >= module.start.value() + module.size);
        }
        last = end;
    }
}

KTEST(boot, range_list_merges_and_subtracts) {
    range_list map, holes;
    map.add(0x5000, 0x9000);
    map.add(0x1000, 0x3000);
    map.add(0x2000, 0x4000); // overlaps
    map.add(0x9000, 0xa000); // touches
    map.add(0x7000, 0x7000); // empty
    map.normalise();
    holes.add(0x0, 0x1800);
    holes.add(0x6000, 0x7000);
    holes.add(0x9000, 0x20000);
    map.subtract(holes);
    const range_list::range expected[] = {{0x1800, 0x4000}, {0x5000, 0x6000}, {0x7000, 0x9000}};
    size_t n = 0;
    for (const auto& r : map) {
        REQUIRE(n < 3);
        EXPECT_EQ(r.start, expected[n].start);
        EXPECT_EQ(r.end, expected[n].end);
        n++;
    }
    EXPECT_EQ(n, 3);
}

KTEST(clock, never_goes_back_between_processors) {
    std::atomic<nanos_t> latest{0};
    std::atomic<unsigned> backwards{0};
    on_all_cpus(cpu::count(), [&](unsigned) {
        for (unsigned i = 0; i < 5000; i++) {
            const nanos_t seen = latest.load();
            const nanos_t time = now();
            if (time < seen)
                backwards++;
            latest.store(time);
        }
    });
    EXPECT_EQ(backwards.load(), 0);
}

KTEST(clock, cycles_and_time_agree) {
    // Cycles are read on both sides of each look at the time, so that one of their intervals lies
    // around the time's and one within it, wherever the host takes the processor away.
    const uint64_t outer_start = cycle_count();
    const nanos_t start = now();
    const uint64_t inner_start = cycle_count();
    delay(5'000'000);
    const uint64_t inner = cycle_count() - inner_start;
    const nanos_t time = now() - start;
    const uint64_t outer = cycle_count() - outer_start;
    EXPECT(time >= 5'000'000);
    // A factor of two would be a wrong calibration.
    const uint64_t expected = time * (cycles_per_second() / 1'000'000) / 1000;
    EXPECT(outer > expected / 2);
    EXPECT(inner < expected * 2);
    EXPECT(boot_wall_clock() > uint64_t{1'600'000'000} * nanos_per_second);
}

KTEST(fpu, refuses_a_state_that_the_processor_does_not_know) {
    fpu_area area;
    fpu::save(&area);
    EXPECT(fpu::restore(&area));
    if (!fpu::has_xsave())
        SKIP("without XSAVE there is nothing to refuse but MXCSR");
    area.bytes[512 + 7] = std::byte{0x40}; // XSTATE_BV: a component that is not enabled
    EXPECT(!fpu::restore(&area));
    fpu::initialize_area(&area);
    EXPECT(fpu::restore(&area));
}

KTEST(panic, backtrace_follows_the_callers) {
    uint64_t calls[32];
    const size_t shallow = count_callers(0, calls);
    const size_t deep = count_callers(5, calls);
    EXPECT_EQ(deep, shallow + 5);
    EXPECT(shallow >= 2);
    EXPECT_EQ(backtrace_from(0, calls), 0);
    EXPECT_EQ(backtrace_from(0xffff'f000'0000'0000, calls), 0);
    EXPECT_EQ(backtrace_from(1, calls), 0);
}

KTEST(printk, log_is_read_by_position) {
    uint64_t position = printk_end();
    printk("a line for %s", "the test");
    char text[128] = {};
    const size_t n = printk_read(position, text);
    EXPECT(n > 20 && text[0] == '[' && text[n - 1] == '\n');
    EXPECT(n > 20 && memcmp(text + n - 20, "a line for the test\n", 20) == 0);
    EXPECT(position >= printk_begin() && position <= printk_end());
    position = 0; // lost or not, the oldest text is what comes
    EXPECT(printk_read(position, text) > 0);
    EXPECT(position > printk_begin());
}

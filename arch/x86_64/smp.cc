// Starting the other processors (Intel SDM vol. 3, 8.4): INIT to all, then to each a start-up
// interrupt (and a second if need be) that says at which page below 1 MiB to begin in real mode.
// One at a time, for they share the trampoline and the variables below.
#include "arch/cpu.h"
#include "arch/machine.h"
#include "arch/memory.h"
#include "arch/timer.h"
#include "arch/upcalls.h"
#include "kernel/base/cmdline.h"
#include "kernel/base/printk.h"
#include "lib/assert.h"
#include "vm/phys/vm_page.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <machine/acpi.h>
#include <machine/apic.h>
#include <machine/boot.h>
#include <machine/clock.h>
#include <machine/cpu_features.h>
#include <machine/instructions.h>
#include <machine/kernel_stack.h>
#include <machine/layout.h>
#include <machine/percpu.h>
#include <machine/stack_protector.h>
#include <machine/tlb.h>
#include <span>

extern "C" {
extern const char trampoline_start[], trampoline_end[]; // start32.S
// For the one that is being started; read by start32.S.
uint64_t starting_cpu_stack;
uint64_t starting_cpu_page_table;
}

namespace {

constexpr nanos_t millisecond = 1'000'000;
constexpr unsigned ist_order = 2 + STACK_SCALE; // pages of one CPU's IST stacks, as a power of two
static_assert((page_size << ist_order) >= ist_stack_count * ist_stack_size);

unsigned starting_id;
uint32_t starting_lapic_id;
uint64_t starting_ist_stacks;
std::atomic<unsigned> started; // id of the last that has arrived

bool wait_for(unsigned id, nanos_t duration) {
    nanos_t end = now() + duration;
    do {
        if (started.load(std::memory_order_acquire) == id)
            return true;
        cpu::relax();
    } while (now() < end);
    return false;
}

// Whether it came up. One that did not may still be on its way, and then finds that it is not the
// one meant.
bool start(unsigned id, uint32_t lapic) {
    auto stack = kernel_stack_allocate();
    vm_page* ist = vm_page_alloc_contiguous(ist_order, page_owner::kernel);
    if (!stack || !ist)
        panic("no memory for the stacks of CPU %u", id);
    starting_id = id;
    starting_lapic_id = lapic;
    starting_ist_stacks = reinterpret_cast<uint64_t>(ist->data());
    starting_cpu_stack = *stack + kernel_stack_size;
    starting_cpu_page_table = kernel_page_table().value();
    std::atomic_thread_fence(std::memory_order_seq_cst);

    auto page = static_cast<uint8_t>(trampoline_page().value() >> page_shift);
    cpu::interrupts_push_off();
    lapic_send_startup(lapic, page);
    bool up = wait_for(id, millisecond);
    if (!up) {
        lapic_send_startup(lapic, page);
        // Long: an emulator may have fewer processors than it emulates.
        up = wait_for(id, 5000 * millisecond);
    }
    cpu::interrupts_pop_off();
    return up;
}

} // namespace

void machine_start_other_cpus() {
    size_t limit = std::min<uint64_t>(cmdline_number("maxcpus=", max_cpus), max_cpus);
    if (acpi.cpu_count <= 1 || limit <= 1)
        return;
    if (!trampoline_page().value()) {
        printk("smp: no memory below 640 KiB to start other processors from");
        return;
    }
    memcpy(direct_map(trampoline_page()), trampoline_start,
           static_cast<size_t>(trampoline_end - trampoline_start));
    auto others = std::span(acpi.lapic_ids, acpi.cpu_count);
    for (uint32_t lapic : others) {
        cpu::interrupts_push_off();
        if (lapic != cpus[0].lapic_id)
            lapic_send_init(lapic);
        cpu::interrupts_pop_off();
    }
    delay(10 * millisecond);
    for (uint32_t lapic : others) {
        if (lapic == cpus[0].lapic_id)
            continue;
        if (cpu::count() == limit)
            return;
        if (!start(cpu::count(), lapic)) {
            printk("smp: the processor with APIC id %u does not start", lapic);
            return; // its stacks may yet be used
        }
    }
}

// Called by start32.S on the stack that start() has given, with the kernel's page tables loaded.
extern "C" [[noreturn]] NO_STACK_PROTECTOR void other_processor_main() {
    uint32_t own = cpuid(1).ebx >> 24;
    if (own != starting_lapic_id)
        halt_forever(); // late, and no longer waited for
    unsigned id = starting_id;
    percpu_load(cpus[id], id, own, starting_cpu_stack, starting_ist_stacks);
    cpus[id].stack_canary = stack_canary_make();
    cpu_enable_features();
    lapic_enable();
    tlb::join();
    cpu_came_up();
    started.store(id, std::memory_order_release);
    secondary_cpu_main();
}

// Interrupts, exceptions and system calls, from the frame that traps.S built to the upcall that
// handles each.
#include "arch/cpu.h"
#include "arch/memory.h"
#include "arch/upcalls.h"
#include "kernel/base/panic.h"
#include "lib/assert.h"

#include <cstring>
#include <machine/apic.h>
#include <machine/boot.h>
#include <machine/cpu_features.h>
#include <machine/exception_table.h>
#include <machine/instructions.h>
#include <machine/layout.h>
#include <machine/percpu.h>
#include <machine/thread_machine.h>
#include <machine/tlb.h>
#include <machine/trap.h>
#include <machine/trap_frame.h>

extern "C" char trap_stubs[], iret_to_user[];

namespace {

constexpr unsigned exception_nmi = 2, exception_breakpoint = 3, exception_overflow = 4;
constexpr unsigned exception_double_fault = 8, exception_protection = 13;
constexpr unsigned exception_page_fault = 14, exception_machine_check = 18;

const char* const exception_names[32] = {
    "divide error",
    "debug",
    "NMI",
    "breakpoint",
    "overflow",
    "bound range",
    "invalid opcode",
    "device not available",
    "double fault",
    nullptr,
    "invalid TSS",
    "segment not present",
    "stack fault",
    "general protection",
    "page fault",
    nullptr,
    "x87 error",
    "alignment check",
    "machine check",
    "SIMD error",
    "virtualization",
    "control protection",
};

// Page-fault error code (Intel SDM vol. 3, 4.7).
constexpr uint64_t fault_present = 1, fault_write = 2, fault_user = 4, fault_instruction = 16;

struct idt_gate { // Intel SDM vol. 3, 6.14.1
    uint16_t offset_low;
    uint16_t selector;
    uint8_t ist;
    uint8_t type;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};
static_assert(sizeof(idt_gate) == 16);

idt_gate idt[256];

void fill_idt() {
    for (unsigned v = 0; v < 256; v++) {
        auto entry = reinterpret_cast<uint64_t>(trap_stubs) + v * 16;
        idt_gate& g = idt[v];
        g.offset_low = static_cast<uint16_t>(entry);
        g.offset_middle = static_cast<uint16_t>(entry >> 16);
        g.offset_high = static_cast<uint32_t>(entry >> 32);
        g.selector = KERNEL_CS;
        g.type = 0x8e; // present, interrupt gate: entered with interrupts off
        g.ist = ist_none;
    }
    // Programs may raise these two themselves, with INT3 and INT 4.
    idt[exception_breakpoint].type |= 3 << 5;
    idt[exception_overflow].type |= 3 << 5;
    idt[exception_nmi].ist = ist_nmi;
    idt[exception_double_fault].ist = ist_double_fault;
    idt[exception_machine_check].ist = ist_machine_check;
}

// Why the processor refuses the kernel an access.
const char* refused_because(uint64_t error_code, vaddr_t address) {
    if (!(error_code & fault_present))
        return "not mapped";
    if (address < user_max)
        return error_code & fault_instruction ? "a program's (SMEP)" : "a program's (SMAP)";
    return error_code & fault_instruction ? "data" : "read-only";
}

[[noreturn, gnu::noinline, gnu::cold]] void panic_for_exception(const trap_frame& f) {
    const char* name = f.vector < 32 ? exception_names[f.vector] : nullptr;
    if (f.vector == exception_double_fault) {
        uint64_t at = read_cr2();
        bool stack = (at >= kernel_stacks_base && at < kernel_mappings_end) ||
                     (at >= reinterpret_cast<uint64_t>(boot_stack_guard) &&
                      at < reinterpret_cast<uint64_t>(boot_stack));
        panic_with_frame(f, "double fault%s", stack ? ": kernel stack overflow" : "");
    }
    if (f.vector == exception_page_fault)
        panic_with_frame(f, "page fault in the kernel: %s of %p, which is %s (error code %#lx)",
                         f.error_code & fault_instruction ? "execution"
                         : f.error_code & fault_write     ? "write"
                                                          : "read",
                         reinterpret_cast<void*>(read_cr2()),
                         refused_because(f.error_code, vaddr_t(read_cr2())), f.error_code);
    panic_with_frame(f, "exception %lu in the kernel: %s, error code %#lx", f.vector,
                     name ? name : "reserved", f.error_code);
}

// A page fault of the kernel itself. Only the user accessors may have one, and only on user
// addresses.
[[gnu::noinline]] void kernel_page_fault(trap_frame& f, vaddr_t address, vm_prot access) {
    const exception_entry* entry = exception_table_find(f.rip);
    if (!entry || entry->kind == EX_PROTECTION || address >= user_max)
        panic_for_exception(f);
    if (entry->kind == EX_USER_ACCESS && f.interrupts_enabled()) {
        interrupts_on();
        bool resolved = handle_page_fault(f, address, access, false, f.error_code & fault_present);
        interrupts_off();
        if (resolved)
            return;
    }
    f.rip = entry->fixup;
}

void page_fault(trap_frame& f) {
    vaddr_t address(read_cr2()); // before interrupts are on: another fault overwrites it
    vm_prot access = f.error_code & fault_instruction ? vm_prot::execute
                     : f.error_code & fault_write     ? vm_prot::write
                                                      : vm_prot::read;
    if (!f.from_user()) {
        kernel_page_fault(f, address, access);
        return;
    }
    interrupts_on();
    // A program's instruction that reads memory with the processor's own rights, as of a descriptor
    // table (and as QEMU lets IRET read its operands): no mapping would help it.
    if (!(f.error_code & fault_user)) {
        handle_user_exception(f, exception_protection, 0);
        return;
    }
    handle_page_fault(f, address, access, true, f.error_code & fault_present);
}

// The IRET to user mode refused its frame (a program can have put a bad rip into a signal frame).
// The registers are the program's already, and the refused part of the frame still lies at the top
// of the stack: put the user frame together again and treat the fault as one of the program's.
[[gnu::noinline, gnu::cold]] trap_frame* recover_from_bad_iret(const trap_frame& fault) {
    trap_frame user = fault;
    auto* at = reinterpret_cast<trap_frame*>(this_cpu()->kernel_stack_top) - 1;
    memcpy(&user.rip, &at->rip, sizeof(trap_frame) - offsetof(trap_frame, rip));
    user.vector = exception_protection;
    *at = user; // covers part of `fault`, which is not needed any more
    interrupts_on();
    handle_user_exception(*at, exception_protection, at->error_code);
    return at;
}

trap_frame* exception(trap_frame* f) {
    if (f->vector == exception_page_fault) {
        page_fault(*f);
    } else if (f->from_user()) {
        interrupts_on();
        handle_user_exception(*f, static_cast<unsigned>(f->vector), f->error_code);
    } else if (f->rip == reinterpret_cast<uint64_t>(iret_to_user)) {
        f = recover_from_bad_iret(*f);
    } else {
        const exception_entry* entry = exception_table_find(f->rip);
        if (f->vector != exception_protection || !entry || entry->kind != EX_PROTECTION)
            panic_for_exception(*f);
        f->rip = entry->fixup;
    }
    return f;
}

[[gnu::noinline]] void interrupt(const trap_frame& f) {
    auto vector = static_cast<uint8_t>(f.vector);
    if (vector == vector_spurious)
        return; // not in service: no end of interrupt
    switch (vector) {
    case vector_timer:
        lapic_end_of_interrupt();
        handle_timer_interrupt();
        return;
    case vector_reschedule:
        lapic_end_of_interrupt();
        handle_reschedule_interrupt();
        return;
    case vector_tlb_shootdown:
        lapic_end_of_interrupt();
        tlb::interrupt();
        return;
    default: device_interrupt(vector); lapic_end_of_interrupt();
    }
}

// What the kernel's code counts on, whatever flags a program had: string instructions go upwards, and
// with SMAP the program's memory is closed. Looked at on the way in, and on the way out for accessors
// that left it open.
void check_flags() {
    CHECK_ASSERT(!(read_flags() & (RFLAGS_DF | (cpu_features.smap ? RFLAGS_AC : 0u))));
}

[[gnu::noinline, gnu::cold]] void do_pending_work(machine_thread& running, trap_frame& frame) {
    while (running.work_pending.load()) {
        // Cleared before looking: what is set from here on is seen above, with interrupts off.
        running.work_pending.store(false);
        interrupts_on();
        before_return_to_user(frame);
        interrupts_off();
    }
}

// The usual way out: nothing is left to do.
[[gnu::always_inline]] inline void return_to_user(trap_frame& frame) {
    machine_thread& running = *this_cpu()->running;
    interrupts_off();
    if (running.work_pending.load()) [[unlikely]]
        do_pending_work(running, frame);
    leaving_kernel(frame);
    check_flags();
    CHECK_ASSERT(frame.from_user() && frame.interrupts_enabled());
    CHECK_ASSERT(this_cpu()->interrupts_off_depth == 0);
}

} // namespace

void idt_load() {
    if (!idt[0].offset_high)
        fill_idt();
    struct [[gnu::packed]] {
        uint16_t limit;
        uint64_t base;
    } pointer{sizeof idt - 1, reinterpret_cast<uint64_t>(idt)};
    asm volatile("lidt %0" ::"m"(pointer));
}

void prepare_return_to_user(trap_frame* frame) { return_to_user(*frame); }

trap_frame* trap_dispatch(trap_frame* frame) {
    check_flags();
    if (frame->vector < 32) {
        frame = exception(frame);
    } else {
        this_cpu()->interrupts_under_way++;
        interrupt(*frame);
        this_cpu()->interrupts_under_way--;
    }
    if (frame->from_user())
        return_to_user(*frame);
    return frame;
}

void syscall_dispatch(trap_frame* frame) {
    check_flags();
    interrupts_on();
    handle_syscall(*frame);
    return_to_user(*frame);
}

trap_frame* trap_paranoid_dispatch(trap_frame* frame) {
    check_flags();
    if (frame->vector != exception_nmi)
        panic_for_exception(*frame);
    // Without a panic elsewhere it comes from outside, where somebody wants to see what the machine
    // hangs in: tools/spork at its time-out, QEMU's `nmi` command, or a button.
    if (!panic_stop_this_cpu(*frame) && !answer_interrupts(*frame))
        panic_hang_with_frame(*frame, "NMI on CPU %u: from outside, to see what the machine does",
                              cpu::id());
    return frame;
}

extern "C" const exception_entry ex_table_start[], ex_table_end[];

const exception_entry* exception_table_find(uint64_t rip) {
    // A dozen entries: nothing is gained by sorting them.
    for (const exception_entry* e = ex_table_start; e != ex_table_end; e++)
        if (e->instruction == rip)
            return e;
    return nullptr;
}

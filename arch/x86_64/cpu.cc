// The processor itself: per-CPU data, descriptor tables, control registers, and arch/cpu.h.
#include "arch/cpu.h"

#include "arch/upcalls.h"
#include "kernel/base/random.h"
#include "lib/assert.h"

#include <atomic>
#include <cstddef>
#include <machine/apic.h>
#include <machine/cpu_features.h>
#include <machine/fpu.h>
#include <machine/instructions.h>
#include <machine/percpu.h>
#include <machine/stack_protector.h>
#include <machine/tlb.h>
#include <machine/trap.h>
#include <machine/trap_frame.h>

cpu_data cpus[max_cpus];
cpu_features_t cpu_features;
bool smap_enabled; // read by assembly

static_assert(offsetof(cpu_data, self) == CPU_SELF);
static_assert(offsetof(cpu_data, kernel_stack_top) == CPU_KERNEL_STACK);
static_assert(offsetof(cpu_data, user_rsp) == CPU_USER_RSP);
static_assert(offsetof(cpu_data, current) == CPU_CURRENT);
static_assert(offsetof(cpu_data, stack_canary) == CPU_STACK_CANARY);
static_assert(offsetof(cpu_data, id) == CPU_ID);
static_assert(offsetof(cpu_data, interrupts_off_depth) == CPU_INTERRUPTS_OFF_DEPTH);
static_assert(offsetof(cpu_data, interrupts_were_on) == CPU_INTERRUPTS_WERE_ON);
static_assert(offsetof(cpu_data, interrupts_under_way) == CPU_INTERRUPTS_UNDER_WAY);
static_assert(offsetof(cpu_data, counters) == CPU_COUNTERS);
static_assert(offsetof(cpu_data, spin_locks) == CPU_SPIN_LOCKS);
static_assert(offsetof(trap_frame, r11) == FRAME_R11);
static_assert(offsetof(trap_frame, rax) == FRAME_RAX);
static_assert(offsetof(trap_frame, rcx) == FRAME_RCX);
static_assert(offsetof(trap_frame, vector) == FRAME_VECTOR);
static_assert(offsetof(trap_frame, error_code) == FRAME_ERROR);
static_assert(offsetof(trap_frame, rip) == FRAME_RIP);
static_assert(offsetof(trap_frame, cs) == FRAME_CS);
static_assert(offsetof(trap_frame, rflags) == FRAME_RFLAGS);
static_assert(offsetof(trap_frame, rsp) == FRAME_RSP);
static_assert(offsetof(trap_frame, ss) == FRAME_SS);
static_assert(sizeof(trap_frame) == FRAME_SIZE && FRAME_SIZE % 16 == 0);
static_assert(sizeof(task_state_segment) == 104);

namespace {

constexpr uint32_t msr_star = 0xc0000081, msr_lstar = 0xc0000082, msr_fmask = 0xc0000084;
constexpr uint32_t msr_kernel_gs_base = 0xc0000102;

constexpr uint64_t cr0_mp = 1 << 1, cr0_em = 1 << 2, cr0_ts = 1 << 3, cr0_ne = 1 << 5;
constexpr uint64_t cr0_wp = 1 << 16, cr0_nw = 1 << 29, cr0_cd = 1 << 30;
constexpr uint64_t cr4_pge = 1 << 7, cr4_osfxsr = 1 << 9, cr4_osxmmexcpt = 1 << 10;
constexpr uint64_t cr4_umip = 1 << 11, cr4_osxsave = 1 << 18, cr4_smep = 1 << 20;
constexpr uint64_t cr4_smap = 1 << 21;
constexpr uint64_t efer_sce = 1 << 0, efer_nxe = 1 << 11;

// Segment descriptors, all flat (Intel SDM vol. 3, 3.4.5).
constexpr uint64_t descriptor_kernel_code = 0x00af'9b00'0000'ffff;
constexpr uint64_t descriptor_kernel_data = 0x00cf'9300'0000'ffff;
constexpr uint64_t descriptor_user_data = 0x00cf'f300'0000'ffff;
constexpr uint64_t descriptor_user_code = 0x00af'fb00'0000'ffff;

std::atomic<unsigned> cpu_count{1};

void find_features() {
    auto& f = cpu_features;
    uint32_t last = cpuid(0).eax;
    cpuid_result one = cpuid(1);
    f.xsave = one.ecx >> 26 & 1;
    f.rdrand = one.ecx >> 30 & 1;
    f.pge = one.edx >> 13 & 1;
    if (last >= 7) {
        cpuid_result seven = cpuid(7);
        f.smep = seven.ebx >> 7 & 1;
        f.smap = seven.ebx >> 20 & 1;
        f.umip = seven.ecx >> 2 & 1;
    }
    f.gigabyte_pages = cpuid(0x8000'0001).edx >> 26 & 1;
}

NO_STACK_PROTECTOR void load_gdt(cpu_data& c) {
    auto tss = reinterpret_cast<uint64_t>(&c.tss);
    c.gdt[KERNEL_CS / 8] = descriptor_kernel_code;
    c.gdt[KERNEL_DS / 8] = descriptor_kernel_data;
    c.gdt[USER_DS / 8] = descriptor_user_data;
    c.gdt[USER_CS / 8] = descriptor_user_code;
    c.gdt[TSS_SELECTOR / 8] = (sizeof(task_state_segment) - 1) | (tss & 0xff'ffff) << 16 |
                              uint64_t{0x89} << 40 | (tss >> 24 & 0xff) << 56;
    c.gdt[TSS_SELECTOR / 8 + 1] = tss >> 32;

    struct [[gnu::packed]] {
        uint16_t limit;
        uint64_t base;
    } pointer{sizeof c.gdt - 1, reinterpret_cast<uint64_t>(c.gdt)};
    asm volatile("lgdt %0\n\t"
                 "pushq %1\n\t"
                 "leaq 1f(%%rip), %%rax\n\t"
                 "pushq %%rax\n\t"
                 "lretq\n"
                 "1:\tmovl %2, %%eax\n\t"
                 "movl %%eax, %%ss\n\t"
                 "xorl %%eax, %%eax\n\t"
                 "movl %%eax, %%ds\n\t"
                 "movl %%eax, %%es\n\t"
                 "movl %%eax, %%fs\n\t"
                 "movl %%eax, %%gs\n\t"
                 "ltr %w3"
                 :
                 : "m"(pointer), "i"(KERNEL_CS), "i"(KERNEL_DS), "r"(TSS_SELECTOR)
                 : "rax", "memory");
}

// cpu::ask_interrupts()
enum class question : uint8_t { none, asked, answered_on, answered_off };
std::atomic<question> asked_interrupts[max_cpus];

} // namespace

bool answer_interrupts(const trap_frame& frame) {
    question asked = question::asked;
    return asked_interrupts[cpu::id()].compare_exchange_strong(
        asked, frame.interrupts_enabled() ? question::answered_on : question::answered_off);
}

NO_STACK_PROTECTOR void percpu_load(cpu_data& c, unsigned id, uint32_t lapic_id,
                                    uint64_t idle_stack_top, uint64_t ist_stacks) {
    c.self = &c;
    c.id = id;
    c.lapic_id = lapic_id;
    c.kernel_stack_top = c.idle_stack_top = c.tss.rsp[0] = idle_stack_top;
    for (unsigned i = 0; i < ist_stack_count; i++)
        c.tss.ist[i] = ist_stacks + (i + 1) * ist_stack_size;
    c.tss.io_map_base = sizeof c.tss;
    load_gdt(c);
    write_msr(MSR_GS_BASE, reinterpret_cast<uint64_t>(&c));
    write_msr(msr_kernel_gs_base, 0);
    idt_load();
}

uint64_t stack_canary_make() {
#ifdef __SSP_STRONG__
    return random_u64() & ~uint64_t{0xff};
#else
    return 0;
#endif
}

void cpu_enable_features() {
    find_features(); // of each CPU; they are alike

    uint64_t cr0 = read_cr0();
    cr0 &= ~(cr0_em | cr0_ts | cr0_nw | cr0_cd);
    write_cr0(cr0 | cr0_mp | cr0_ne | cr0_wp);

    // FSGSBASE stays off: trap_paranoid in traps.S relies on programs' bases.
    uint64_t cr4 = read_cr4() | cr4_osfxsr | cr4_osxmmexcpt;
    cr4 |= cpu_features.pge ? cr4_pge : 0;
    cr4 |= cpu_features.smep ? cr4_smep : 0;
    cr4 |= cpu_features.smap ? cr4_smap : 0;
    cr4 |= cpu_features.umip ? cr4_umip : 0;
    cr4 |= cpu_features.xsave ? cr4_osxsave : 0;
    write_cr4(cr4);
    smap_enabled = cpu_features.smap;

    write_msr(MSR_EFER, read_msr(MSR_EFER) | efer_sce | efer_nxe);
    // SYSRET's 64-bit CS is the upper selector + 16, its SS the same + 8.
    write_msr(msr_star, uint64_t{USER_CS32} << 48 | uint64_t{KERNEL_CS} << 32);
    write_msr(msr_lstar, reinterpret_cast<uint64_t>(syscall_entry));
    write_msr(msr_fmask, RFLAGS_IF | RFLAGS_DF | RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_AC);
    fpu::enable();
}

namespace cpu {

uint64_t counted(unsigned cpu, unsigned counter) {
    return std::atomic_ref(cpus[cpu].counters[counter]).load(std::memory_order_relaxed);
}

unsigned count() { return cpu_count.load(std::memory_order_acquire); }

void relax() {
    pause_instruction();
    if (!interrupts_enabled())
        tlb::poll();
}

void set_current(thread* t) { this_cpu()->current = t; }

void send_reschedule(unsigned cpu) { lapic_send_ipi(cpu, vector_reschedule); }

void ask_interrupts(unsigned cpu) {
    asked_interrupts[cpu].store(question::asked);
    lapic_send_nmi(cpu);
}

answer interrupts_when_asked(unsigned cpu) {
    const question q = asked_interrupts[cpu].load();
    if (q == question::none || q == question::asked)
        return answer::none;
    asked_interrupts[cpu].store(question::none);
    return q == question::answered_on ? answer::on : answer::off;
}

void halt_until_interrupt() {
    // STI takes effect after the next instruction: no interrupt comes between the two.
    asm volatile("sti; hlt; cli" ::: "memory");
}

void call_with_interrupts_on(void (*work)()) {
    ASSERT(this_cpu()->interrupts_off_depth == 0);
    interrupts_on();
    work();
    interrupts_off();
}

} // namespace cpu

void cpu_came_up() { cpu_count.fetch_add(1, std::memory_order_release); }

// cpu_data: what each processor has of its own. In the kernel %gs points at it.
//
// Only its own CPU writes it, with interrupts off, except where a field says otherwise.
#pragma once

#include "arch/cpu.h"
#include "lib/lock.h"

#include <cstdint>
#include <machine/asm.h>

struct thread;
struct machine_thread;
struct pmap_machine;
struct trap_frame;

// Intel SDM vol. 3, 8.7.
struct [[gnu::packed]] task_state_segment {
    uint32_t reserved0;
    uint64_t rsp[3]; // rsp[0]: the stack on which user mode is interrupted
    uint64_t reserved1;
    uint64_t ist[7]; // stacks of their own: see enum ist_stack
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map_base;
};

// Exceptions that may come when the current stack cannot be trusted.
enum ist_stack : uint8_t { ist_none = 0, ist_nmi = 1, ist_double_fault = 2, ist_machine_check = 3 };
inline constexpr unsigned ist_stack_count = 3;

struct alignas(64) cpu_data {
    // The first fields' offsets are in <machine/asm.h>.
    cpu_data* self;
    uint64_t kernel_stack_top; // of the running thread; where SYSCALL begins
    uint64_t user_rsp;         // scratch of the SYSCALL entry
    thread* current;
    machine_thread* running; // machine part of current; null until the first switch
    uint64_t stack_canary;   // of the running thread: machine/stack_protector.h
    uint32_t id;
    uint32_t lapic_id;
    uint32_t interrupts_off_depth; // pushes without their pop
    bool interrupts_were_on;       // before the first push; belongs to the running thread
    uint16_t interrupts_under_way; // interrupt handlers that have begun and not ended
    alignas(64) uint64_t counters[cpu::counter_count]; // arch/cpu.h's; others read them
    held_locks spin_locks;
    pmap_machine* loaded_pmap; // what is in CR3, null before the first; written by tlb.cc alone
    uint64_t idle_stack_top;   // the stack it was started on
    task_state_segment tss;
    uint64_t gdt[TSS_SELECTOR / 8 + 2];
};

extern cpu_data cpus[max_cpus];

// The calling CPU's; stable only with interrupts off. Read anew each time, for a thread may be on
// another CPU after a switch.
inline cpu_data* this_cpu() {
    cpu_data* c;
    asm volatile("movq %%gs:%c1, %0" : "=r"(c) : "i"(CPU_SELF));
    return c;
}

// Fills `c` and makes it the calling CPU's: GDT, TSS, IDT, %gs. `ist_stacks` is the lowest address
// of ist_stack_count stacks of ist_stack_size.
inline constexpr uint64_t ist_stack_size = 8192 * STACK_SCALE;
void percpu_load(cpu_data& c, unsigned id, uint32_t lapic_id, uint64_t idle_stack_top,
                 uint64_t ist_stacks);
// NMI: whether it was the question of cpu::ask_interrupts(), which is answered then.
bool answer_interrupts(const trap_frame& frame);
// Control registers, EFER, SYSCALL's registers and the FPU of the calling CPU.
void cpu_enable_features();

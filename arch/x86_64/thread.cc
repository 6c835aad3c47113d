// The machine's part of threads: their kernel stacks, registers, and the switch between them.
//
// A kernel stack, from the top: the trap_frame through which the thread came from user mode (only
// user threads have one, and it is always there), then the calls of the kernel, and while the
// thread does not run, below them the registers that switch_stacks has pushed.
#include "arch/thread.h"

#include "arch/memory.h"
#include "kernel/base/panic.h"
#include "kernel/base/printk.h"
#include "lib/assert.h"
#include "vm/phys/pool.h"

#include <cstring>
#include <machine/fpu.h>
#include <machine/fpu_area.h>
#include <machine/instructions.h>
#include <machine/kernel_stack.h>
#include <machine/layout.h>
#include <machine/paging.h>
#include <machine/percpu.h>
#include <machine/stack_protector.h>
#include <machine/trap_frame.h>

extern "C" {
void switch_stacks(uint64_t* save_rsp, uint64_t load_rsp);
void first_run_user();
void first_run_kernel();
void first_run_call(void (*function)(void*), void* argument);
}

namespace {

constexpr uint32_t msr_fs_base = 0xc0000100, msr_kernel_gs_base = 0xc0000102;

constinit pool<fpu_area> fpu_areas{"fpu_area"};

// What switch_stacks pops, lowest address first.
struct switch_frame {
    uint64_t r15, r14;
    void* r13; // the argument
    void (*r12)(void*);
    uint64_t rbx, rbp;
    void (*return_address)();
};

void prepare_first_run(machine_thread& m, uint64_t rsp, void (*start)(), void (*function)(void*),
                       void* argument) {
    ASSERT(rsp % 16 == 0);
    switch_frame f{};
    f.r12 = function;
    f.r13 = argument;
    f.return_address = start;
    m.saved_rsp = rsp - sizeof f;
    memcpy(reinterpret_cast<void*>(m.saved_rsp), &f, sizeof f);
    m.interrupts_were_on = true;
    m.stack_canary = stack_canary_make();
}

// The kernel itself needs none of these but GS's base: a program's selectors stay where they are
// while it is in the kernel.
user_selectors loaded_selectors() {
    user_selectors s;
    asm volatile("movw %%ds, %0" : "=r"(s.ds));
    asm volatile("movw %%es, %0" : "=r"(s.es));
    asm volatile("movw %%fs, %0" : "=r"(s.fs));
    asm volatile("movw %%gs, %0" : "=r"(s.gs));
    return s;
}

// For selectors that a program has had loaded, which every CPU's GDT allows. Their bases are to be
// loaded after them.
void load_fs(uint16_t selector) { asm volatile("movw %0, %%fs" ::"r"(selector)); }

// Loading GS sets the base that is in use, so it is done between two swapgs, with interrupts off
// (of the rest, trap_paranoid asks which base is loaded).
void load_gs(uint16_t selector) {
    ASSERT(!cpu::interrupts_enabled());
    asm volatile("swapgs\n\t"
                 "movw %0, %%gs\n\t"
                 "swapgs" ::"r"(selector)
                 : "memory");
}

// With interrupts off. Nearly all programs have none.
void load_selectors(const user_selectors& wanted) {
    const user_selectors loaded = loaded_selectors();
    if (loaded == wanted)
        return;
    if (loaded.ds != wanted.ds)
        asm volatile("movw %0, %%ds" ::"r"(wanted.ds));
    if (loaded.es != wanted.es)
        asm volatile("movw %0, %%es" ::"r"(wanted.es));
    if (loaded.fs != wanted.fs)
        load_fs(wanted.fs);
    if (loaded.gs != wanted.gs)
        load_gs(wanted.gs);
}

// After the selectors.
void load_user_bases(const machine_thread& m) {
    write_msr(msr_fs_base, m.fs_base);
    // While in the kernel, the program's GS base waits here for swapgs.
    write_msr(msr_kernel_gs_base, m.gs_base);
}

} // namespace

status machine_thread_create(machine_thread& m) {
    fpu_area* area = fpu_areas.create();
    if (!area)
        return fail(Errno::nomem);
    auto stack = kernel_stack_allocate();
    if (!stack) {
        fpu_areas.destroy(area);
        return fail(stack.error());
    }
    m.fpu_area = area;
    m.stack_base = *stack;
    m.stack_top = *stack + kernel_stack_size;
    m.fs_base = m.gs_base = 0;
    m.selectors = {};
    m.work_pending.store(false);
    return {};
}

void machine_thread_destroy(machine_thread& m) {
    ASSERT(this_cpu()->running != &m);
    fpu_areas.destroy(static_cast<fpu_area*>(m.fpu_area));
    kernel_stack_free(m.stack_base);
    m.fpu_area = nullptr;
    m.stack_base = m.stack_top = 0;
}

void machine_thread_trim() {
    kernel_stack_trim();
    fpu_areas.trim();
}

void machine_thread_start_kernel(machine_thread& m, void (*entry)(void*), void* argument) {
    fpu::initialize_area(m.fpu_area);
    prepare_first_run(m, m.stack_top, first_run_kernel, entry, argument);
}

void machine_thread_start_user(machine_thread& m, const trap_frame& frame, void (*first)(void*),
                               void* argument) {
    ASSERT(frame.from_user());
    trap_frame& at = machine_user_frame(m);
    at = frame;
    prepare_first_run(m, reinterpret_cast<uint64_t>(&at), first_run_user, first, argument);
}

// The caller of machine_switch() may hold a spin lock over the switch, which `function` then
// releases.
void first_run_call(void (*function)(void*), void* argument) {
    if (this_cpu()->interrupts_off_depth == 0)
        interrupts_on();
    if (function)
        function(argument);
}

void machine_thread_begin_user_state(machine_thread& m) { fpu::initialize_area(m.fpu_area); }

void machine_thread_copy_user_state(machine_thread& child, machine_thread& running_parent) {
    ASSERT(this_cpu()->running == &running_parent);
    fpu::save(child.fpu_area);
    child.fs_base = read_msr(msr_fs_base);
    child.gs_base = read_msr(msr_kernel_gs_base);
    child.selectors = loaded_selectors();
}

void machine_thread_set_tls(machine_thread& m, uint64_t fs_base) {
    m.fs_base = fs_base;
    m.selectors.fs = 0;
}

void machine_thread_reset_user_state(machine_thread& running) {
    ASSERT(this_cpu()->running == &running);
    fpu::reset();
    cpu::interrupts_push_off();
    running.fs_base = running.gs_base = 0;
    load_selectors({});
    load_user_bases(running);
    cpu::interrupts_pop_off();
}

void machine_switch(machine_thread& from, machine_thread& to) {
    ASSERT(!cpu::interrupts_enabled() && &from != &to);
    cpu_data* c = this_cpu();
    if (from.fpu_area) { // not an idle thread
        fpu::save(from.fpu_area);
        // Read back: a program can change a base by loading a segment register.
        from.fs_base = read_msr(msr_fs_base);
        from.gs_base = read_msr(msr_kernel_gs_base);
        from.selectors = loaded_selectors();
    }
    if (to.fpu_area) {
        bool accepted = fpu::restore(to.fpu_area);
        ASSERT(accepted);
        load_selectors(to.selectors);
        load_user_bases(to);
        c->kernel_stack_top = c->tss.rsp[0] = to.stack_top;
    } else {
        c->kernel_stack_top = c->tss.rsp[0] = c->idle_stack_top;
    }
    c->running = &to;
    from.interrupts_were_on = c->interrupts_were_on;
    c->interrupts_were_on = to.interrupts_were_on;
    from.stack_canary = c->stack_canary;
    c->stack_canary = to.stack_canary;
    switch_stacks(&from.saved_rsp, to.saved_rsp);
}

status machine_set_fs_base(uint64_t value) {
    if (value >= user_max.value())
        return fail(Errno::perm);
    cpu::interrupts_push_off();
    load_fs(0);
    write_msr(msr_fs_base, value);
    cpu::interrupts_pop_off();
    return {};
}

status machine_set_gs_base(uint64_t value) {
    if (value >= user_max.value())
        return fail(Errno::perm);
    cpu::interrupts_push_off();
    load_gs(0);
    write_msr(msr_kernel_gs_base, value);
    cpu::interrupts_pop_off();
    return {};
}

uint64_t machine_fs_base() { return read_msr(msr_fs_base); }
uint64_t machine_gs_base() { return read_msr(msr_kernel_gs_base); }

trap_frame& machine_user_frame(machine_thread& m) {
    return reinterpret_cast<trap_frame*>(m.stack_top)[-1];
}

void machine_backtrace(machine_thread& m) {
    if (!kernel_address_mapped(m.saved_rsp))
        return;
    switch_frame f;
    memcpy(&f, reinterpret_cast<void*>(m.saved_rsp), sizeof f);
    // Of a thread that has not run yet there is only the address at which it begins.
    uint64_t calls[32];
    const size_t n = backtrace_from(f.rbp, calls);
    if (n == 0)
        panic_print_address(reinterpret_cast<uint64_t>(f.return_address));
    for (size_t i = 1; i < n; i++) // the first call is the scheduler's, of machine_switch()
        panic_print_address(calls[i]);
}

// A panic: the machine's last words. It stops the other CPUs by NMI, tells what this one and they
// were doing, and powers off with a failure status (or stays, when the command line says
// onpanic=halt).
//
// Takes no lock, allocates nothing, and prints by polling. A panic inside a panic only adds its
// message; a CPU that panics while another one does only notes where it was.
#include "kernel/base/panic.h"

#include "arch/cpu.h"
#include "arch/machine.h"
#include "kernel/base/cmdline.h"
#include "kernel/base/printk.h"
#include "lib/assert.h"
#include "lib/format.h"
#include "lib/lock.h"
#include "lib/sanitize.h"

#include <atomic>
#include <cstring>
#include <machine/apic.h>
#include <machine/boot.h>
#include <machine/instructions.h>
#include <machine/paging.h>
#include <machine/percpu.h>
#include <machine/trap_frame.h>

namespace {

constexpr unsigned nobody = UINT32_MAX;
std::atomic<unsigned> panicking_cpu{nobody};
unsigned depth; // of panics in panics; the panicking CPU's

// What is told besides where each CPU was.
struct account {
    bool registers, threads;
};

// What a stopped CPU was doing. It writes this before it sets `stopped`, and halts.
struct stopped_cpu {
    std::atomic<bool> stopped;
    trap_frame frame;
};
stopped_cpu others[max_cpus];

void print_registers(const trap_frame& f) {
    printk_unlocked(" rip %016lx cs %02lx rflags %06lx rsp %016lx ss %02lx", f.rip, f.cs, f.rflags,
                    f.rsp, f.ss);
    printk_unlocked(" rax %016lx rbx %016lx rcx %016lx rdx %016lx", f.rax, f.rbx, f.rcx, f.rdx);
    printk_unlocked(" rsi %016lx rdi %016lx rbp %016lx r8  %016lx", f.rsi, f.rdi, f.rbp, f.r8);
    printk_unlocked(" r9  %016lx r10 %016lx r11 %016lx r12 %016lx", f.r9, f.r10, f.r11, f.r12);
    printk_unlocked(" r13 %016lx r14 %016lx r15 %016lx", f.r13, f.r14, f.r15);
}

void print_backtrace(uint64_t rbp) {
    uint64_t calls[48];
    for (size_t i = 0, n = backtrace_from(rbp, calls); i < n; i++)
        panic_print_address(calls[i]);
}

void print_thread(unsigned cpu, thread* t) {
    char description[128] = "";
    if (!t)
        format_to(description, sizeof description, "none");
    else if (panic_describe_thread)
        panic_describe_thread(t, description, sizeof description);
    else
        format_to(description, sizeof description, "%p", static_cast<void*>(t));
    printk_unlocked("CPU %u, thread: %s", cpu, description);
}

void print_locks(const char* whose, const held_locks& locks) {
    for (unsigned i = 0; i < locks.count && i < held_locks::capacity; i++)
        printk_unlocked(" %s holds the lock \"%s\" (%p)", whose, locks.entries[i].name,
                        locks.entries[i].lock);
}

void stop_other_cpus(unsigned self) {
    for (unsigned i = 0; i < cpu::count(); i++)
        if (i != self)
            lapic_send_nmi(i);
}

void print_other_cpu(unsigned cpu, bool registers) {
    stopped_cpu& other = others[cpu];
    for (unsigned i = 0; i < 20'000'000 && !other.stopped.load(std::memory_order_acquire); i++)
        pause_instruction();
    if (!other.stopped.load(std::memory_order_acquire)) {
        printk_unlocked("CPU %u does not answer", cpu);
        return;
    }
    print_thread(cpu, cpus[cpu].current);
    const trap_frame& f = other.frame;
    if (registers)
        print_registers(f);
    if (f.from_user()) {
        printk_unlocked(" in user mode at %016lx", f.rip);
        return;
    }
    panic_print_address(f.rip);
    print_backtrace(f.rbp);
    print_locks("the CPU", cpus[cpu].spin_locks);
}

[[noreturn]] void stop_this_cpu(const trap_frame& frame) {
    stopped_cpu& self = others[cpu::id()];
    if (!self.stopped.load()) {
        self.frame = frame;
        self.stopped.store(true, std::memory_order_release);
    }
    halt_forever();
}

bool told_to_halt() {
    char value[8];
    return cmdline_value("onpanic=", value, sizeof value) && strcmp(value, "halt") == 0;
}

[[noreturn]] void finish() {
    if (told_to_halt())
        halt_forever();
    machine_power_off(true);
}

// `frame` is what failed. Where code has found something wrong, rather than the processor, only its
// rip and rbp are known.
[[noreturn]] void do_panic(const trap_frame& frame, account told, const char* format,
                           va_list args) {
    interrupts_off();
    unsigned self = cpu::id(), expected = nobody;
    if (!panicking_cpu.compare_exchange_strong(expected, self) && expected != self)
        stop_this_cpu(frame); // two at once: the first one tells
    printk_without_lock();

    char message[400];
    vformat_to(message, sizeof message, format, args);
    if (depth++ > 0) {
        if (depth == 2)
            printk_unlocked("panic: in the panic: %s", message);
        finish();
    }
    printk_unlocked("panic: %s", message);
    stop_other_cpus(self);
    print_thread(self, cpu::current());
    if (told.registers) {
        print_registers(frame);
        printk_unlocked(" cr2 %016lx cr3 %016lx cr4 %06lx", read_cr2(), read_cr3(), read_cr4());
    }
    panic_print_address(frame.rip);
    print_backtrace(frame.rbp);
    if (panic_describe_memory)
        panic_describe_memory();
    print_locks("the CPU", cpus[self].spin_locks);
    if (cpu::current())
        print_locks("the thread", thread_held_locks());
    for (unsigned i = 0; i < cpu::count(); i++)
        if (i != self)
            print_other_cpu(i, told.threads);
    if (told.threads && panic_describe_all_threads)
        panic_describe_all_threads();
    trace_finish_in_panic();
    printk_unlocked("end of panic");
    finish();
}

} // namespace

// As if it had been interrupted in this function, whose frame pointer that is.
static trap_frame frame_in(void (*function)(const char*, ...), void* frame_pointer) {
    trap_frame here{};
    here.rip = reinterpret_cast<uint64_t>(function) + 1;
    here.rbp = reinterpret_cast<uint64_t>(frame_pointer);
    here.cs = KERNEL_CS;
    return here;
}

void panic(const char* format, ...) {
    va_list args;
    va_start(args, format);
    do_panic(frame_in(panic, __builtin_frame_address(0)), {.registers = false, .threads = false},
             format, args);
}

void panic_with_frame(const trap_frame& frame, const char* format, ...) {
    va_list args;
    va_start(args, format);
    do_panic(frame, {.registers = true, .threads = false}, format, args);
}

void panic_hang(const char* format, ...) {
    va_list args;
    va_start(args, format);
    do_panic(frame_in(panic_hang, __builtin_frame_address(0)),
             {.registers = false, .threads = true}, format, args);
}

void panic_hang_with_frame(const trap_frame& frame, const char* format, ...) {
    va_list args;
    va_start(args, format);
    do_panic(frame, {.registers = true, .threads = true}, format, args);
}

void panic_print_address(uint64_t address) { printk_unlocked(" [<%016lx>]", address); }

bool panic_stop_this_cpu(const trap_frame& frame) {
    unsigned panicked = panicking_cpu.load();
    if (panicked == nobody || panicked == cpu::id())
        return false;
    stop_this_cpu(frame);
}

NO_SANITIZE_ADDRESS size_t backtrace_from(uint64_t rbp, std::span<uint64_t> out) {
    size_t n = 0;
    while (n < out.size() && rbp % 8 == 0 && kernel_address_mapped(rbp) &&
           kernel_address_mapped(rbp + 8)) {
        const auto* frame = reinterpret_cast<const uint64_t*>(rbp);
        uint64_t caller = frame[1];
        bool is_code = caller >= reinterpret_cast<uint64_t>(kernel_text_start) &&
                       caller < reinterpret_cast<uint64_t>(kernel_text_end);
        if (!is_code || frame[0] == rbp)
            break;
        out[n++] = caller;
        rbp = frame[0];
    }
    return n;
}

// Exceptions of programs, and the way back to user mode.
#include "arch/memory.h"
#include "arch/pmap.h"
#include "arch/thread.h"
#include "arch/upcalls.h"
#include "kernel/lifecycle/oom.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "kernel/sched/sched.h"
#include "kernel/signal/signal.h"
#include "kernel/signal/trace.h"
#include "lib/long_work.h"
#include "vm/vmspace.h"

#include <machine/trap_frame.h>

using namespace linux_abi;

namespace {

void post_fault_signal(thread& self, vaddr_t address, vm_prot access, fault_outcome outcome) {
    self.fault_access = access;
    switch (outcome) {
    case fault_outcome::resolved: return;
    case fault_outcome::maperr: signal_force(self, sigsegv, segv_maperr, address.value()); return;
    case fault_outcome::accerr: signal_force(self, sigsegv, segv_accerr, address.value()); return;
    case fault_outcome::adrerr:
    case fault_outcome::io_error: signal_force(self, sigbus, bus_adrerr, address.value()); return;
    case fault_outcome::nomem: return; // out_of_memory() has seen to it
    }
}

// A fault without an answer: once there is memory again, there may be one.
[[gnu::noinline, gnu::cold]] bool handle_unresolved(thread& self, vaddr_t address, vm_prot access,
                                                    bool user_mode, fault_outcome outcome) {
    while (outcome == fault_outcome::nomem && out_of_memory(self, address, user_mode))
        outcome = self.vm->fault(address, access);
    if (user_mode)
        post_fault_signal(self, address, access, outcome);
    return outcome == fault_outcome::resolved;
}

// A fault that was resolved, and comes again with nothing changed, and again: what the handler says
// that it has done it has not.
[[gnu::noinline, gnu::cold]] void look_for_endless_fault(thread& self, const trap_frame& frame,
                                                         vaddr_t address, vm_prot access) {
    constexpr unsigned too_often = 10'000;
    const uint64_t registers[] = {frame.rip, frame.rsp, frame.rax, frame.rbx, frame.rcx, frame.rdx,
                                  frame.rsi, frame.rdi, frame.rbp, frame.r8,  frame.r9,  frame.r10,
                                  frame.r11, frame.r12, frame.r13, frame.r14, frame.r15};
    uint64_t state = address.value();
    for (uint64_t r : registers)
        state = (state ^ r) * 0x100000001b3; // FNV-1a's prime
    auto& same = self.same_fault;
    same.times = same.state == state ? same.times + 1 : 0;
    same.state = state;
    // Another thread of the program may take the page away each time: that is no fault of ours.
    if (self.vm->references() != 1 || self.proc->unfreed_threads.load() != 1)
        same.times = 0;
    if (same.times < too_often)
        return;
    const auto mapping = self.vm->physical_map().lookup(address.page_down());
    panic("broken rule: a page fault that is resolved does not come again: it came %u times, for "
          "%s 0x%lx by the instruction at 0x%lx; mapped there: %s%s%s, physical 0x%lx",
          same.times, allows(access, vm_prot::write) ? "a write to" : "a read of", address.value(),
          frame.rip, mapping ? "r" : "nothing",
          mapping && allows(mapping->prot, vm_prot::write) ? "w" : "",
          mapping && allows(mapping->prot, vm_prot::execute) ? "x" : "",
          mapping ? mapping->pa.value() : 0);
}

} // namespace

bool handle_page_fault(trap_frame& frame, vaddr_t address, vm_prot access, bool user_mode,
                       bool present) {
    thread& self = current_thread();
    if (user_mode)
        self.modes.enter_kernel();
    if (!self.user_map) {
        ASSERT(!user_mode);
        return false;
    }
    self.minor_faults++;
    // Nobody takes the address space away from a process one of whose threads is running.
    const fault_outcome outcome =
        address < user_max ? self.vm->fault(address, access, present) : fault_outcome::maperr;
    if (outcome == fault_outcome::resolved) [[likely]] {
        if (user_mode && uvm_check_at_seams.load(std::memory_order_relaxed)) [[unlikely]]
            look_for_endless_fault(self, frame, address, access);
        return true;
    }
    return handle_unresolved(self, address, access, user_mode, outcome);
}

// Intel SDM vol. 3, 6.15; signals and codes as Linux gives them.
void handle_user_exception(trap_frame& frame, unsigned vector, uint64_t) {
    thread& self = current_thread();
    self.modes.enter_kernel();
    const uint64_t at = frame.user_pc().value();
    switch (vector) {
    case 0: // divide error
        signal_force(self, sigfpe, fpe_intdiv, at);
        break;
    case 1: // debug
        if (trace_debug_exception(self))
            signal_force(self, sigtrap, trap_trace, at);
        break;
    case 3: // breakpoint
        signal_force(self, sigtrap, si_kernel, 0);
        break;
    case 6: // invalid opcode
        signal_force(self, sigill, ill_illopn, at);
        break;
    case 11: // segment not present
    case 12: // stack segment
        signal_force(self, sigbus, si_kernel, 0);
        break;
    case 16: // x87
    case 19: // SIMD
        signal_force(self, sigfpe, machine_fpu_exception_code(vector), at);
        break;
    case 17: // alignment
        signal_force(self, sigbus, bus_adraln, 0);
        break;
    default: // overflow, bound, general protection...
        signal_force(self, sigsegv, si_kernel, 0);
        break;
    }
}

void before_return_to_user(trap_frame& frame) {
    thread& self = current_thread();
    self.modes.enter_kernel(); // if an interrupt has brought it here
    long_work::pause();
    if (signal_work(self, frame))
        signal_deliver(self, frame);
}

void leaving_kernel(const trap_frame& frame) {
    thread& self = current_thread();
    CHECK_ASSERT(!self.signals.restore_mask && !call_interrupted(frame));
    self.modes.leave_kernel();
}

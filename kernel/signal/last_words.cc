#include "kernel/signal/last_words.h"

#include "arch/timer.h"
#include "kernel/base/printk.h"
#include "kernel/process/process.h"
#include "lib/no_alloc.h"
#include "lib/text_sink.h"
#include "vm/vmspace.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <machine/trap_frame.h>

using namespace linux_abi;

namespace {

// One line of the log.
class line final : public text_sink {
public:
    using text_sink::append;
    void append(std::string_view more) override {
        const size_t n = std::min(more.size(), sizeof text_ - 1 - size_);
        memcpy(text_ + size_, more.data(), n);
        size_ += n;
    }
    const char* text() const { return text_; }

private:
    char text_[450] = {};
    size_t size_ = 0;
};

// A program that dies over and over again does not fill the log: as Linux, ten lines in five
// seconds. `missing`: how many have not been written since the last one that was.
constexpr unsigned most_lines = 10;
constexpr nanos_t time_for_them = 5 * nanos_per_second;
constinit spin_lock recent_lock{lock_rank::wait, "last words"};
nanos_t recent_begin GUARDED_BY(recent_lock) = 0;
unsigned recent_lines GUARDED_BY(recent_lock) = 0;
unsigned left_out GUARDED_BY(recent_lock) = 0;

bool may_speak(unsigned& missing) {
    lock_guard guard(recent_lock);
    if (now() - recent_begin > time_for_them) {
        recent_begin = now();
        recent_lines = 0;
    }
    if (recent_lines == most_lines) {
        left_out++;
        return false;
    }
    recent_lines++;
    missing = std::exchange(left_out, 0);
    return true;
}

const char* name_of(int signo, int32_t code) {
    if (code == si_kernel)
        return "SI_KERNEL";
    switch (signo) {
    case sigsegv: return code == segv_maperr ? "SEGV_MAPERR" : "SEGV_ACCERR";
    case sigbus: return code == bus_adraln ? "BUS_ADRALN" : "BUS_ADRERR";
    case sigill: return "ILL_ILLOPN";
    case sigtrap: return code == trap_brkpt ? "TRAP_BRKPT" : "TRAP_TRACE";
    case sigfpe: return code == fpe_intdiv ? "FPE_INTDIV" : "floating point";
    default: return "?";
    }
}

void add_region(line& out, const map_region& r) {
    auto has = [&](vm_prot right, char c) { return allows(r.prot, right) ? c : '-'; };
    out.print("0x%lx-0x%lx %c%c%c ", r.start.value(), r.end.value(), has(vm_prot::read, 'r'),
              has(vm_prot::write, 'w'), has(vm_prot::execute, 'x'));
    out.append_escaped(r.name[0] ? r.name : "(no name)", " \n\\");
}

// Where the program was, so that tools find the function: the file, and how far into it.
void add_instruction(line& out, vmspace& vm, vaddr_t pc) {
    out.print(", by the instruction at 0x%lx", pc.value());
    const auto code = vm.region_at_or_after(pc);
    if (!code || pc < code->start || !code->name[0])
        return;
    out.append(" (");
    out.append_escaped(code->name, " \n\\");
    out.print("+0x%lx)", code->offset + (pc - code->start));
}

constexpr unsigned general_protection = 13; // the vector

// A store that is as near as this to the stack pointer was one to the stack.
constexpr uint64_t near_stack_pointer = 65536;

void add_what_is_there(line& out, vmspace& vm, vaddr_t address, vaddr_t sp) {
    const auto above = vm.region_at_or_after(address);
    if (above && address >= above->start) {
        out.append(", which is in ");
        add_region(out, *above);
        return;
    }
    if (address.value() < page_size) {
        out.append(", a null pointer or a small offset from one");
        return;
    }
    const bool to_stack = address + near_stack_pointer > sp && address < sp + near_stack_pointer;
    if (above && above->grows_down && to_stack) {
        out.print(", stack overflow: with %lu KiB below ", (above->end - address) / 1024);
        out.print("0x%lx and a limit (RLIMIT_STACK) of ", above->end.value());
        const uint64_t limit = process_vm_limit(vm_limit::stack);
        if (limit == vm_unlimited)
            out.append("none");
        else
            out.print("%lu KiB", limit / 1024);
        return;
    }
    out.append(", where nothing is mapped");
    if (const auto below = vm.region_before(address)) {
        out.append(", behind ");
        add_region(out, *below);
    }
    if (above) {
        out.append(", before ");
        add_region(out, *above);
    }
}

void add_access(line& out, thread& self, vaddr_t address, vaddr_t sp) {
    const char* what = allows(self.fault_access, vm_prot::write)     ? "a write to"
                       : allows(self.fault_access, vm_prot::execute) ? "a jump to"
                                                                     : "a read of";
    out.print(": %s 0x%lx", what, address.value());
    add_what_is_there(out, *self.vm, address, sp);
}

} // namespace

MAY_LOSE("what does not go into its line, which has a fixed length: tools/no-alloc sees any sink")
void last_words(thread& self, const trap_frame& frame, const linux_siginfo& info) {
    unsigned missing = 0;
    if (!self.vm || !may_speak(missing))
        return;
    line out;
    out.append_escaped(self.name, " \n\\[");
    out.print("[%d] died of %s (%s)", self.proc->pid, signal_names[info.signo],
              name_of(info.signo, info.code));
    const bool at_address =
        (info.signo == sigsegv || info.signo == sigbus) && info.code > 0 && info.code != si_kernel;
    if (at_address)
        add_access(out, self, vaddr_t(info.fault.address), frame.user_sp());
    else if (frame.vector == general_protection)
        out.append(": a privileged instruction, or an address that no program has");
    add_instruction(out, *self.vm, frame.user_pc());
    printk("%s", out.text());
    if (missing)
        printk("%u more have died that nothing was said of", missing);
}

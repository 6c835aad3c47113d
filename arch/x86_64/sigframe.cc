// Linux's x86-64 signal frame: pushing it for a handler, and taking it back in rt_sigreturn.
//
//     interrupted rsp ->  +------------------------+  or the top of the alternate stack
//                         | 128 bytes: red zone    |  (not on the alternate stack)
//                         +------------------------+
//                         | FP_XSTATE_MAGIC2       |  4 bytes, behind the XSAVE area
//                         | XSAVE area             |  64-byte aligned; software's bytes at 464 say
//                         how large
//                         +------------------------+
//                         | siginfo                |
//                         | ucontext               |
//     handler's rsp   ->  | restorer               |  rsp is 8 below a multiple of 16, as after a
//     call
//                         +------------------------+
//
// The handler's `ret` goes to the restorer, whose rt_sigreturn finds rsp 8 bytes into the frame.
//
// A program can make a frame of its own and call rt_sigreturn with it. So nothing in it is
// believed: selectors must be the user's own, RFLAGS loses what is not a program's to set, and the
// processor checks the floating-point state (fpu::restore()).
#include "arch/signal_frame.h"

#include "arch/memory.h"
#include "arch/uaccess.h"
#include "kernel/abi/signal.h"
#include "lib/string.h"

#include <cstddef>
#include <machine/fpu.h>
#include <machine/fpu_area.h>
#include <machine/thread_machine.h>
#include <machine/trap_frame.h>

using namespace linux_abi;

namespace {

constexpr uint64_t uc_fp_xstate = 1, uc_sigcontext_ss = 2, uc_strict_restore_ss = 4;
constexpr uint32_t fp_xstate_magic1 = 0x46505853, fp_xstate_magic2 = 0x46505845;
constexpr uint64_t red_zone = 128;
constexpr size_t fxsave_size = 512, software_offset = 464;
constexpr size_t mxcsr_offset = 24, mxcsr_mask_offset = 28;
constexpr uint32_t default_mxcsr_mask =
    0xffbf; // Intel SDM vol. 1, 11.6.6: when the mask reads as 0
constexpr size_t xsave_header_offset = 512, xsave_header_size = 64;
constexpr uint64_t fp_x87_and_sse = 3;

struct sigcontext {
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip,
        rflags;
    uint16_t cs, gs, fs, ss;
    uint64_t error_code, trap_number, old_mask, cr2;
    uint64_t fpstate; // user address, 0 for none
    uint64_t reserved[8];
};
static_assert(sizeof(sigcontext) == 256);

struct ucontext {
    uint64_t flags, link;
    linux_stack stack;
    sigcontext context;
    uint64_t mask;
};
static_assert(offsetof(ucontext, context) == 40 && sizeof(ucontext) == 304);

struct rt_sigframe {
    uint64_t restorer;
    ucontext uc;
    linux_siginfo info;
};
static_assert(sizeof(rt_sigframe) == 440);

struct software_bytes { // Linux's use of the bytes that XSAVE leaves to software
    uint32_t magic1;
    uint32_t extended_size; // the area and magic2
    uint64_t features;
    uint32_t state_size;
    uint32_t padding[7];
};
static_assert(sizeof(software_bytes) == 48);

constexpr bool canonical(uint64_t address) {
    return static_cast<uint64_t>(static_cast<int64_t>(address << 16) >> 16) == address;
}

bool on_stack(const linux_stack& stack, uint64_t sp) {
    return !(stack.flags & ss_autodisarm) && sp > stack.sp && sp - stack.sp <= stack.size;
}

// Writes the running thread's floating-point state to a 64-byte aligned user address.
status push_fpu(machine_thread& running, uint64_t to) {
    // The thread's own area is free while it runs, and a switch in the middle of the copy
    // fills it with the very same state.
    auto* area = static_cast<uint8_t*>(running.fpu_area);
    const size_t size = fpu::state_size();
    fpu::save(area);
    software_bytes software{};
    if (fpu::has_xsave())
        software = {fp_xstate_magic1,
                    static_cast<uint32_t>(size + sizeof fp_xstate_magic2),
                    fpu::features(),
                    static_cast<uint32_t>(size),
                    {}};
    const size_t after_software = software_offset + sizeof software;
    TRY(copy_out(vaddr_t(to), area, software_offset));
    TRY(copy_out(vaddr_t(to + software_offset), &software, sizeof software));
    TRY(copy_out(vaddr_t(to + after_software), area + after_software, size - after_software));
    if (fpu::has_xsave())
        TRY(copy_out(vaddr_t(to + size), &fp_xstate_magic2, sizeof fp_xstate_magic2));
    return {};
}

// Whether `area`, of which the first fxsave_size bytes have been copied in from `from`, is followed
// by the rest of an XSAVE area as large as ours.
expected<bool> is_extended(const uint8_t* area, uint64_t from) {
    software_bytes software;
    memcpy(&software, area + software_offset, sizeof software);
    const size_t size = fpu::state_size();
    if (!fpu::has_xsave() || software.magic1 != fp_xstate_magic1 || software.state_size != size ||
        software.extended_size != size + sizeof fp_xstate_magic2)
        return false;
    uint32_t magic2;
    TRY(copy_in(&magic2, vaddr_t(from + size), sizeof magic2));
    return magic2 == fp_xstate_magic2;
}

// Whether MXCSR in `area` has no bit that this processor does not know. The processor itself would
// refuse it, but not every emulator does.
bool valid_mxcsr(machine_thread& running, const uint8_t* area) {
    uint32_t mxcsr, mask;
    memcpy(&mxcsr, area + mxcsr_offset, sizeof mxcsr);
    fpu::save(running.fpu_area);
    memcpy(&mask, static_cast<uint8_t*>(running.fpu_area) + mxcsr_mask_offset, sizeof mask);
    if (mask == 0)
        mask = default_mxcsr_mask;
    return (mxcsr & ~mask) == 0;
}

// Loads the floating-point state from a user address that may be anything.
status pop_fpu(machine_thread& running, uint64_t from) {
    if (from == 0) {
        fpu::reset();
        return {};
    }
    // On the stack: rt_sigreturn has no errno to give when there is no memory. The thread's own
    // area would be filled with its registers by a switch in the middle.
    fpu_area copy;
    auto* area = reinterpret_cast<uint8_t*>(copy.bytes);
    TRY(copy_in(area, vaddr_t(from), fxsave_size));
    uint8_t* header = area + xsave_header_offset;
    if (TRY(is_extended(area, from))) {
        TRY(copy_in(header, vaddr_t(from + xsave_header_offset),
                    fpu::state_size() - xsave_header_offset));
        uint64_t present;
        memcpy(&present, header, sizeof present);
        present &= fpu::features();
        memset(header, 0, xsave_header_size); // in particular, not the compacted format
        memcpy(header, &present, sizeof present);
    } else if (fpu::has_xsave()) {
        memcpy(header, &fp_x87_and_sse, sizeof fp_x87_and_sse);
    }
    if (!valid_mxcsr(running, area) || !fpu::restore(area))
        return fail(Errno::fault);
    return {};
}

sigcontext context_of(const trap_frame& f, const linux_siginfo& info) {
    sigcontext c{};
    c.r8 = f.r8, c.r9 = f.r9, c.r10 = f.r10, c.r11 = f.r11;
    c.r12 = f.r12, c.r13 = f.r13, c.r14 = f.r14, c.r15 = f.r15;
    c.rdi = f.rdi, c.rsi = f.rsi, c.rbp = f.rbp, c.rbx = f.rbx;
    c.rdx = f.rdx, c.rax = f.rax, c.rcx = f.rcx, c.rsp = f.rsp;
    c.rip = f.rip, c.rflags = f.rflags;
    c.cs = static_cast<uint16_t>(f.cs);
    c.ss = static_cast<uint16_t>(f.ss);
    if (f.vector <
        32) { // an exception, and then the registers are those of the faulting instruction
        c.trap_number = f.vector;
        c.error_code = f.error_code;
        if (f.vector == 14 && info.code > 0)
            c.cr2 = info.fault.address;
    }
    return c;
}

} // namespace

status signal_frame_push(machine_thread& running, trap_frame& frame,
                         const signal_frame_request& request) {
    const linux_sigaction& action = request.action;
    const linux_stack& alternate = request.alt_stack;
    if (!(action.flags & sa_restorer) || !canonical(action.handler))
        return fail(Errno::fault);

    uint64_t sp = frame.rsp - red_zone;
    const bool already_on = on_stack(alternate, frame.rsp);
    bool on_alternate = already_on;
    if ((action.flags & sa_onstack) && !already_on && alternate.size != 0 &&
        !(alternate.flags & ss_disable)) {
        sp = alternate.sp + alternate.size;
        on_alternate = true;
    }
    const uint64_t fpstate = (sp - fpu::state_size() - sizeof fp_xstate_magic2) & ~uint64_t{63};
    const uint64_t at = ((fpstate - sizeof(rt_sigframe)) & ~uint64_t{15}) - 8;
    // What does not fit onto the alternate stack must not run over whatever lies below it.
    if (on_alternate && (at <= alternate.sp || at - alternate.sp > alternate.size))
        return fail(Errno::fault);

    TRY(push_fpu(running, fpstate));
    rt_sigframe f{};
    f.restorer = action.restorer;
    f.uc.flags = uc_sigcontext_ss | uc_strict_restore_ss | (fpu::has_xsave() ? uc_fp_xstate : 0);
    f.uc.stack = alternate;
    f.uc.context = context_of(frame, request.info);
    f.uc.context.fpstate = fpstate;
    f.uc.context.old_mask = request.saved_mask;
    f.uc.mask = request.saved_mask;
    f.info = request.info;
    TRY(copy_out(vaddr_t(at), &f, sizeof f));

    fpu::reset();
    frame.rdi = static_cast<uint64_t>(request.signo);
    frame.rsi = at + offsetof(rt_sigframe, info);
    frame.rdx = at + offsetof(rt_sigframe, uc);
    frame.rax = 0; // no vector registers hold arguments, should the handler be variadic
    frame.rip = action.handler;
    frame.rsp = at;
    frame.cs = USER_CS;
    frame.ss = USER_DS;
    frame.set_user_flags(frame.rflags & ~uint64_t{RFLAGS_DF | RFLAGS_TF | RFLAGS_RF});
    return {};
}

expected<signal_frame_contents> signal_frame_pop(machine_thread& running, trap_frame& frame) {
    ucontext uc;
    TRY(copy_in(&uc, vaddr_t(frame.rsp - sizeof(uint64_t) + offsetof(rt_sigframe, uc)), sizeof uc));
    const sigcontext& c = uc.context;
    const uint16_t ss = uc.flags & uc_strict_restore_ss ? c.ss | 3 : USER_DS;
    if ((c.cs | 3) != USER_CS || ss != USER_DS || !canonical(c.rip))
        return fail(Errno::fault);
    TRY(pop_fpu(running, c.fpstate));

    frame.r8 = c.r8, frame.r9 = c.r9, frame.r10 = c.r10, frame.r11 = c.r11;
    frame.r12 = c.r12, frame.r13 = c.r13, frame.r14 = c.r14, frame.r15 = c.r15;
    frame.rdi = c.rdi, frame.rsi = c.rsi, frame.rbp = c.rbp, frame.rbx = c.rbx;
    frame.rdx = c.rdx, frame.rax = c.rax, frame.rcx = c.rcx, frame.rsp = c.rsp;
    frame.rip = c.rip;
    frame.set_user_flags(c.rflags);
    frame.cs = USER_CS;
    frame.ss = USER_DS;
    frame.forget_syscall();
    return signal_frame_contents{uc.mask, uc.stack.sp, uc.stack.size, uc.stack.flags};
}

// A stopped thread's registers in the hands of another: nothing that comes from there is believed.
#include "arch/registers.h"

#include "arch/memory.h"
#include "arch/thread.h"
#include "kernel/abi/ptrace.h"
#include "lib/string.h"

#include <cstring>
#include <machine/fpu.h>
#include <machine/fpu_area.h>
#include <machine/trap_frame.h>

namespace {

constexpr size_t mxcsr_offset = 24, mxcsr_mask_offset = 28, software_offset = 464;
constexpr uint32_t default_mxcsr_mask = 0xffbf; // Intel SDM vol. 1, 11.6.6: when it reads as 0
constexpr uint64_t fp_x87_and_sse = 3;
static_assert(most_xstate_bytes == fpu_area::size);

// Of the flags a debugger sees those that the program would: not the one that steps it.
uint64_t flags_of(const machine_thread& m, const trap_frame& f) {
    return m.stepping ? f.rflags & ~uint64_t{RFLAGS_TF} : f.rflags;
}

bool data_selector(uint64_t s) { return s <= 3 || s == USER_DS; }

} // namespace

linux_user_regs machine_get_registers(machine_thread& m) {
    const trap_frame& f = machine_user_frame(m);
    return {f.r15,          f.r14,
            f.r13,          f.r12,
            f.rbp,          f.rbx,
            f.r11,          f.r10,
            f.r9,           f.r8,
            f.rax,          f.rcx,
            f.rdx,          f.rsi,
            f.rdi,          f.is_syscall() ? f.syscall_number() : ~uint64_t{0},
            f.rip,          f.cs,
            flags_of(m, f), f.rsp,
            f.ss,           m.fs_base,
            m.gs_base,      m.selectors.ds,
            m.selectors.es, m.selectors.fs,
            m.selectors.gs};
}

status machine_set_registers(machine_thread& m, const linux_user_regs& r) {
    if (r.cs != USER_CS || r.ss != USER_DS || !data_selector(r.ds) || !data_selector(r.es) ||
        !data_selector(r.fs) || !data_selector(r.gs) || r.fs_base >= user_max.value() ||
        r.gs_base >= user_max.value())
        return fail(Errno::io);
    trap_frame& f = machine_user_frame(m);
    f.r15 = r.r15, f.r14 = r.r14, f.r13 = r.r13, f.r12 = r.r12;
    f.rbp = r.rbp, f.rbx = r.rbx, f.r11 = r.r11, f.r10 = r.r10;
    f.r9 = r.r9, f.r8 = r.r8, f.rax = r.rax, f.rcx = r.rcx;
    f.rdx = r.rdx, f.rsi = r.rsi, f.rdi = r.rdi;
    f.rip = r.rip, f.rsp = r.rsp;
    f.set_user_flags(r.rflags | (m.stepping ? RFLAGS_TF : 0u));
    m.fs_base = r.fs_base, m.gs_base = r.gs_base;
    m.selectors = {uint16_t(r.ds), uint16_t(r.es), uint16_t(r.fs), uint16_t(r.gs)};
    if (static_cast<int64_t>(r.orig_rax) < 0)
        f.forget_syscall();
    else
        f.changed_syscall(r.orig_rax);
    return {};
}

size_t machine_xstate_size() { return fpu::state_size(); }

void machine_get_xstate(const machine_thread& m, std::span<std::byte, most_xstate_bytes> to) {
    memcpy(to.data(), m.fpu_area, fpu::state_size());
    const uint64_t features = fpu::features();
    memset(to.data() + software_offset, 0, fxsave_bytes - software_offset);
    memcpy(to.data() + software_offset, &features, sizeof features);
}

status machine_set_xstate(machine_thread& m, std::span<const std::byte> from) {
    auto* const area = static_cast<std::byte*>(m.fpu_area);
    uint32_t mxcsr, mask;
    memcpy(&mxcsr, from.data() + mxcsr_offset, sizeof mxcsr);
    memcpy(&mask, area + mxcsr_mask_offset, sizeof mask);
    if (mxcsr & ~(mask ? mask : default_mxcsr_mask))
        return fail(Errno::inval);
    uint64_t present = fp_x87_and_sse;
    if (from.size() > fxsave_bytes) {
        static constexpr std::byte zeros[56]{};
        memcpy(&present, from.data() + fxsave_bytes, sizeof present);
        if ((present & ~fpu::features()) ||
            memcmp(from.data() + fxsave_bytes + 8, zeros, sizeof zeros) != 0)
            return fail(Errno::inval);
        memcpy(area + fpu_area::avx, from.data() + fpu_area::avx, from.size() - fpu_area::avx);
    }
    memcpy(area, from.data(), mxcsr_mask_offset);
    memcpy(area + mxcsr_mask_offset + 4, from.data() + mxcsr_mask_offset + 4,
           software_offset - mxcsr_mask_offset - 4);
    if (!fpu::has_xsave())
        return {};
    uint64_t before;
    memcpy(&before, area + fxsave_bytes, sizeof before);
    if (from.size() == fxsave_bytes)
        present |= before;
    memcpy(area + fxsave_bytes, &present, sizeof present);
    return {};
}

void machine_set_stepping(machine_thread& m, bool on) {
    trap_frame& f = machine_user_frame(m);
    if (on)
        f.rflags |= RFLAGS_TF;
    else if (m.stepping)
        f.rflags &= ~uint64_t{RFLAGS_TF};
    m.stepping = on;
}

// trap_frame: every register of interrupted code, in one layout for interrupts, exceptions and
// system calls. traps.S builds it; user mode's lies at the very top of the thread's kernel stack
// (machine_user_frame()), and changing it changes what the thread returns to.
#pragma once

#include "lib/types.h"

#include <array>
#include <cstdint>
#include <machine/asm.h>

struct trap_frame {
    uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
    uint64_t vector;     // 0..255, or VECTOR_SYSCALL, VECTOR_SYSCALL_CHANGED
    uint64_t error_code; // of the exceptions that have one; for a system call its number
    uint64_t rip, cs, rflags, rsp, ss;

    bool from_user() const { return (cs & 3) == 3; }
    bool is_syscall() const { return vector >= VECTOR_SYSCALL; }
    bool interrupts_enabled() const { return rflags & RFLAGS_IF; }
    vaddr_t user_pc() const { return vaddr_t(rip); }
    vaddr_t user_sp() const { return vaddr_t(rsp); }

    // Number and arguments (0..5) of a system call, as Linux passes them. The number stays when the
    // result has been set, so that the call can be restarted.
    uint64_t syscall_number() const { return error_code; }
    uint64_t argument(unsigned i) const {
        const uint64_t values[] = {rdi, rsi, rdx, r10, r8, r9};
        return values[i];
    }
    std::array<uint64_t, 6> arguments() const { return {rdi, rsi, rdx, r10, r8, r9}; }
    void set_result(int64_t value) { rax = static_cast<uint64_t>(value); }
    int64_t result() const { return static_cast<int64_t>(rax); }
    // Makes the return to user mode execute the SYSCALL instruction again, with call `number`.
    void restart_syscall(uint64_t number) {
        rax = number;
        rip -= 2;
    }
    void restart_syscall() { restart_syscall(syscall_number()); }
    // After sigreturn and exec: what is in the frame is no longer a system call's.
    void forget_syscall() {
        vector = 0;
        error_code = 0;
    }
    // It is a system call's, or is taken for one's, whose registers are no longer as SYSCALL has
    // left them.
    void changed_syscall(uint64_t number) {
        vector = VECTOR_SYSCALL_CHANGED;
        error_code = number;
    }
    void stop_stepping() { rflags &= ~uint64_t{RFLAGS_TF}; }
    // RFLAGS from a program: only the bits that are its own to set.
    void set_user_flags(uint64_t flags) {
        rflags = (flags & RFLAGS_USER) | RFLAGS_FIXED | RFLAGS_IF;
    }

    // A program's first registers: all zero but these.
    static trap_frame user_start(vaddr_t pc, vaddr_t sp);
};

inline trap_frame trap_frame::user_start(vaddr_t pc, vaddr_t sp) {
    trap_frame f{};
    f.rip = pc.value();
    f.rsp = sp.value();
    f.cs = USER_CS;
    f.ss = USER_DS;
    f.rflags = RFLAGS_FIXED | RFLAGS_IF;
    return f;
}

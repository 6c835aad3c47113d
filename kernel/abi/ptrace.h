// ptrace(2) as programs see it: Linux's numbers and structures for x86-64.
#pragma once

#include <cstdint>

namespace linux_abi {

enum : int32_t {
    ptrace_traceme = 0,
    ptrace_peektext = 1,
    ptrace_peekdata = 2,
    ptrace_peekuser = 3,
    ptrace_poketext = 4,
    ptrace_pokedata = 5,
    ptrace_pokeuser = 6,
    ptrace_cont = 7,
    ptrace_kill = 8,
    ptrace_singlestep = 9,
    ptrace_getregs = 12,
    ptrace_setregs = 13,
    ptrace_getfpregs = 14,
    ptrace_setfpregs = 15,
    ptrace_attach = 16,
    ptrace_detach = 17,
    ptrace_syscall = 24,
    ptrace_setoptions = 0x4200,
    ptrace_geteventmsg,
    ptrace_getsiginfo,
    ptrace_setsiginfo,
    ptrace_getregset,
    ptrace_setregset,
    ptrace_seize,
    ptrace_interrupt,
    ptrace_listen,
    ptrace_peeksiginfo,
    ptrace_getsigmask,
    ptrace_setsigmask,
    ptrace_get_syscall_info = 0x420e,
};
enum : uint32_t { // PTRACE_SETOPTIONS; an event's bit is 1 << its number
    ptrace_o_tracesysgood = 1,
    ptrace_o_exitkill = 1 << 20,
};
enum : int32_t { // wait's status >> 16
    ptrace_event_fork = 1,
    ptrace_event_vfork,
    ptrace_event_clone,
    ptrace_event_exec,
    ptrace_event_vfork_done,
    ptrace_event_exit,
    ptrace_event_stop = 128,
};
enum : uint32_t { nt_prstatus = 1, nt_prfpreg = 2, nt_x86_xstate = 0x202 };
enum : uint8_t { ptrace_syscall_none, ptrace_syscall_entry, ptrace_syscall_exit };
inline constexpr uint32_t audit_arch_x86_64 = 0xc000003e;

} // namespace linux_abi

// struct user_regs_struct, with which struct user begins.
struct linux_user_regs {
    uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip,
        cs, rflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs;
};
static_assert(sizeof(linux_user_regs) == 27 * 8);
// struct user: its size, and where the debug registers are.
inline constexpr uint64_t linux_user_size = 928, linux_user_debugreg = 848;

struct linux_ptrace_syscall_info {
    uint8_t op, pad[3];
    uint32_t arch;
    uint64_t instruction_pointer, stack_pointer;
    union {
        struct {
            uint64_t number, arguments[6];
        } entry;
        struct {
            int64_t result;
            uint8_t is_error;
        } exit;
    };
};

// The signal frame: what a handler finds on its stack, and what rt_sigreturn puts back. Linux's
// layout for the machine, bit for bit: debuggers, unwinders and C libraries know it.
#pragma once

#include "lib/result.h"

#include <cstdint>

struct machine_thread;
struct trap_frame;
struct linux_siginfo;
struct linux_sigaction;
struct linux_stack;

struct signal_frame_request {
    int signo;
    const linux_siginfo& info;
    const linux_sigaction& action;
    uint64_t saved_mask;          // what rt_sigreturn brings back
    const linux_stack& alt_stack; // the thread's: used with SA_ONSTACK, and saved in the frame
};

// Pushes the frame onto the running thread's user stack and redirects `frame` to the handler, with
// fresh floating-point state. May sleep. EFAULT: the stack is bad or full, or the action has no
// restorer; `frame` is as it was.
status signal_frame_push(machine_thread& running, trap_frame& frame,
                         const signal_frame_request& request);

struct signal_frame_contents {
    uint64_t mask;
    uint64_t alt_stack_sp, alt_stack_size;
    int32_t alt_stack_flags;
};
// rt_sigreturn: takes every register from the frame at the user stack pointer; the trap frame is
// then no system call's any more. May sleep. EFAULT for a frame that cannot be read or holds what a
// program may not have; the integer registers are as they were.
expected<signal_frame_contents> signal_frame_pop(machine_thread& running, trap_frame& frame);

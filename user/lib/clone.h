// clone.h: clone(2) with a stack for the child, without a C library's own ideas about it.
#pragma once
#include "spork.h"
#include "tap.h"

#include <sched.h>

// Whether a filter stands before clone, as in most containers: clone3, which it cannot see through, is
// not there, and a new name space not permitted.
TAP_UNUSED static bool clone_is_filtered(void) {
    return !on_spork() && syscall(SYS_clone3, NULL, 0) < 0 && errno == ENOSYS;
}

// Calls clone with exactly these flags; the child runs body(arg) on the stack that ends at `top`
// and exits with what that returns. Returns the child's process id, or -errno.
TAP_UNUSED static long clone_call(unsigned long flags, void* top, int (*body)(void*), void* arg) {
    uintptr_t* stack = (uintptr_t*)((uintptr_t)top & ~(uintptr_t)15) - 2;
    stack[0] = (uintptr_t)body;
    stack[1] = (uintptr_t)arg;
    long result;
    register long r10 asm("r10") = 0;
    register long r8 asm("r8") = 0;
    asm volatile("syscall\n\t"
                 "test %%rax, %%rax\n\t"
                 "jnz 1f\n\t"
                 "xor %%ebp, %%ebp\n\t" // the child: its first frame
                 "pop %%rax\n\t"
                 "pop %%rdi\n\t"
                 "call *%%rax\n\t"
                 "mov %%eax, %%edi\n\t"
                 "mov $60, %%eax\n\t" // exit
                 "syscall\n\t"
                 "hlt\n"
                 "1:"
                 : "=a"(result)
                 : "a"(56L), "D"(flags), "S"(stack), "d"(0L), "r"(r10), "r"(r8)
                 : "rcx", "r11", "memory");
    return result;
}

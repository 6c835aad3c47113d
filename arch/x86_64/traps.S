// Every way into the kernel and back out of it.
//
// Interrupts and exceptions go through a stub for their vector to trap_common, which completes a
// trap_frame on the stack and calls trap_dispatch(); SYSCALL builds the same frame and calls
// syscall_dispatch(). Both return the frame to go back to. %gs points at cpu_data in the kernel and
// holds the program's base outside: swapgs at each crossing, and nowhere else.

#include <machine/asm.h>

        .text

// With SMAP a program may not leave RFLAGS.AC set for the kernel: it would lift the protection.
.macro CLEAR_AC
        cmpb    $0, smap_enabled(%rip)
        je      77f
        clac
77:
.endm

.macro PUSH_REGISTERS
        pushq   %rdi
        pushq   %rsi
        pushq   %rdx
        pushq   %rcx
        pushq   %rax
        pushq   %r8
        pushq   %r9
        pushq   %r10
        pushq   %r11
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
.endm

.macro POP_REGISTERS
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        popq    %r11
        popq    %r10
        popq    %r9
        popq    %r8
        popq    %rax
        popq    %rcx
        popq    %rdx
        popq    %rsi
        popq    %rdi
.endm

// Calls \function(frame) with a stack frame that makes the interrupted instruction the caller, so
// that a backtrace by frame pointers goes through. A trap from user mode has no caller. Returns its
// result as the stack pointer.
.macro CALL_WITH_FRAME function
        movq    %rsp, %rdi
        xorl    %eax, %eax
        testb   $3, FRAME_CS(%rdi)
        cmovnzq %rax, %rbp
        pushq   FRAME_RIP(%rdi)
        pushq   %rbp
        movq    %rsp, %rbp
        call    \function
        movq    %rax, %rsp
.endm

// ---- Stubs -----------------------------------------------------------------------------------

// Exceptions for which the processor pushes an error code: 8, 10-14, 17, 21, 29, 30.
#define HAS_ERROR_CODE 0x60227d00

        .align  16
        .globl  trap_stubs
trap_stubs:                             // 16 bytes each
        .set    vec, 0
        .rept   256
        .align  16
        .if     (vec >= 32) || (((HAS_ERROR_CODE >> (vec & 31)) & 1) == 0)
        pushq   $0
        .endif
        pushq   $vec
        .if     (vec == 2) || (vec == 8) || (vec == 18)
        jmp     trap_paranoid
        .else
        jmp     trap_common
        .endif
        .set    vec, vec + 1
        .endr

        .align  16
trap_common:
        testb   $3, 24(%rsp)            // cs, above vector, error code and rip
        jz      1f
        swapgs
2:      PUSH_REGISTERS
        cld
        CLEAR_AC
        CALL_WITH_FRAME trap_dispatch
        jmp     return_from_trap

        // From the kernel, where %gs is right; but for one instruction that runs with the
        // program's: the IRET below, which faults when the frame that it returns to is bad.
1:      pushq   %rax
        leaq    iret_to_user(%rip), %rax
        cmpq    %rax, 24(%rsp)          // rip
        popq    %rax
        jne     2b
        swapgs
        jmp     2b

        .globl  return_from_trap
return_from_trap:                       // rsp = the frame; interrupts off
        testb   $3, FRAME_CS(%rsp)
        jnz     return_to_user_iret
        POP_REGISTERS
        addq    $16, %rsp
        iretq

return_to_user_iret:
        POP_REGISTERS
        addq    $16, %rsp
        swapgs
        .globl  iret_to_user
iret_to_user:
        iretq

// NMI, double fault and machine check come at any instruction, also between an entry and its
// swapgs: which %gs is loaded has to be asked. A program's base is never in the kernel's half (it
// cannot set it but through arch_prctl: FSGSBASE stays off). They run on stacks of their own,
// return to where they came from without any work for the thread, and do not nest.
        .align  16
trap_paranoid:
        PUSH_REGISTERS
        cld
        CLEAR_AC
        movl    $MSR_GS_BASE, %ecx
        rdmsr
        xorl    %ebx, %ebx
        testl   %edx, %edx
        js      1f
        swapgs
        incl    %ebx
1:      CALL_WITH_FRAME trap_paranoid_dispatch
        testl   %ebx, %ebx              // callee-saved
        jz      2f
        swapgs
2:      POP_REGISTERS
        addq    $16, %rsp
        iretq

// ---- System calls ----------------------------------------------------------------------------

// rcx = the program's rip, r11 = its rflags; rsp still the program's; interrupts off (MSR_FMASK).
        .align  16
        .globl  syscall_entry
syscall_entry:
        swapgs
        movq    %rsp, %gs:CPU_USER_RSP
        movq    %gs:CPU_KERNEL_STACK, %rsp
        pushq   $USER_DS
        pushq   %gs:CPU_USER_RSP
        pushq   %r11
        pushq   $USER_CS
        pushq   %rcx
        pushq   %rax                    // error_code: the call's number
        pushq   $VECTOR_SYSCALL
        PUSH_REGISTERS
        movq    %rsp, %rdi
        xorl    %ebp, %ebp              // no caller: as CALL_WITH_FRAME
        pushq   FRAME_RIP(%rdi)
        pushq   %rbp
        movq    %rsp, %rbp
        call    syscall_dispatch
        movq    %rbp, %rsp              // callee-saved
        addq    $16, %rsp

        // SYSRET loads rip from rcx and rflags from r11. They agree with the frame's own, with
        // which they came, unless it is no longer this call's: after sigreturn and exec, before a
        // signal handler (trap_frame::forget_syscall), or when the call is to be made once more,
        // which moves rip. With TF or RF set, the first instruction would be treated wrongly. And
        // rip is canonical, for a program's last page is not mapped (user_max): with another one,
        // Intel's processors would fault in kernel mode on the program's stack.
        cmpq    $VECTOR_SYSCALL, FRAME_VECTOR(%rsp)
        jne     return_to_user_iret
        movq    FRAME_RCX(%rsp), %rcx
        cmpq    %rcx, FRAME_RIP(%rsp)
        jne     return_to_user_iret
        testl   $(RFLAGS_TF | RFLAGS_RF | RFLAGS_NT), FRAME_RFLAGS(%rsp)
        jnz     return_to_user_iret

        POP_REGISTERS
        movq    40(%rsp), %rsp          // above vector, error code, rip, cs and rflags; interrupts
        swapgs                          // are off, and an NMI has its own stack
        sysretq

// ---- A thread's first run --------------------------------------------------------------------

// r12 = function or null, r13 = its argument, rsp = the user frame (see thread.cc).
        .globl  first_run_user
first_run_user:
        xorl    %ebp, %ebp
        movq    %r12, %rdi
        movq    %r13, %rsi
        call    first_run_call
        movq    %rsp, %rdi
        call    prepare_return_to_user
        jmp     return_to_user_iret

// r12 = function, r13 = its argument, which never returns.
        .globl  first_run_kernel
first_run_kernel:
        xorl    %ebp, %ebp
        movq    %r12, %rdi
        movq    %r13, %rsi
        call    first_run_call
        ud2

        .section .note.GNU-stack, "", @progbits

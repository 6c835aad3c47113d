// void switch_stacks(uint64_t* save_rsp, uint64_t load_rsp)
//
// The System V ABI lets a callee change every register but these six and the stack pointer, so that
// is all of a thread's kernel state. thread.cc builds what is popped here for a thread that has not
// run yet.
        .text
        .globl  switch_stacks
switch_stacks:
        pushq   %rbp
        pushq   %rbx
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        ret

        .section .note.GNU-stack, "", @progbits

// The only instructions of the kernel that touch a program's memory. Each has an entry in the
// exception table (exception_table.h): where to go on when it faults and the fault cannot be
// resolved. With SMAP the user's pages are open to the kernel only between STAC and CLAC, here.

#include <machine/exception_table.h>

        .text

.macro OPEN_USER
        cmpb    $0, smap_enabled(%rip)
        je      77f
        stac
77:
.endm

.macro CLOSE_USER
        cmpb    $0, smap_enabled(%rip)
        je      77f
        clac
77:
.endm

// size_t user_copy(void* to, const void* from, size_t size): returns how many bytes were not
// copied.
        .globl  user_copy
user_copy:
        OPEN_USER
        movq    %rdx, %rcx
        shrq    $3, %rcx
        andl    $7, %edx
1:      rep movsq
2:      movl    %edx, %ecx
3:      rep movsb
4:      movq    %rcx, %rax
        CLOSE_USER
        ret
        // Eight bytes together could not be moved: move what is left byte by byte, up to the fault.
5:      leaq    (%rdx, %rcx, 8), %rcx
        jmp     3b
        EXCEPTION_ENTRY(1b, 5b, EX_USER_ACCESS)
        EXCEPTION_ENTRY(3b, 4b, EX_USER_ACCESS)

// size_t user_zero(void* to, size_t size): returns how many bytes were not zeroed.
        .globl  user_zero
user_zero:
        OPEN_USER
        xorl    %eax, %eax
        movq    %rsi, %rcx
        shrq    $3, %rcx
        andl    $7, %esi
1:      rep stosq
        movl    %esi, %ecx
3:      rep stosb
4:      movq    %rcx, %rax
        CLOSE_USER
        ret
5:      leaq    (%rsi, %rcx, 8), %rcx
        jmp     3b
        EXCEPTION_ENTRY(1b, 5b, EX_USER_ACCESS)
        EXCEPTION_ENTRY(3b, 4b, EX_USER_ACCESS)

// int64_t user_copy_string(char* to, const char* from, size_t size): the length without the NUL; -1
// on a fault; -2 when there is no NUL in `size` bytes.
        .globl  user_copy_string
user_copy_string:
        OPEN_USER
        movq    $-2, %rax
        xorl    %ecx, %ecx
1:      cmpq    %rdx, %rcx
        je      4f
2:      movb    (%rsi, %rcx), %r8b
        movb    %r8b, (%rdi, %rcx)
        testb   %r8b, %r8b
        jz      3f
        incq    %rcx
        jmp     1b
3:      movq    %rcx, %rax
4:      CLOSE_USER
        ret
5:      movq    $-1, %rax
        jmp     4b
        EXCEPTION_ENTRY(2b, 5b, EX_USER_ACCESS)

// bool user_load_word(const uint32_t* word, uint32_t* value): false on any fault.
        .globl  user_load_word
user_load_word:
        OPEN_USER
1:      movl    (%rdi), %ecx
        movl    %ecx, (%rsi)
        movl    $1, %eax
2:      CLOSE_USER
        ret
3:      xorl    %eax, %eax
        jmp     2b
        EXCEPTION_ENTRY(1b, 3b, EX_USER_ATOMIC)

// bool user_exchange_word(uint32_t* word, uint32_t* expect, uint32_t desired): false on any fault;
// *expect becomes the value seen.
        .globl  user_exchange_word
user_exchange_word:
        OPEN_USER
        movl    (%rsi), %eax
1:      lock cmpxchgl %edx, (%rdi)
        movl    %eax, (%rsi)
        movl    $1, %eax
2:      CLOSE_USER
        ret
3:      xorl    %eax, %eax
        jmp     2b
        EXCEPTION_ENTRY(1b, 3b, EX_USER_ATOMIC)

        .section .note.GNU-stack, "", @progbits

// From 32-bit protected mode without paging to 64-bit mode in the kernel's half, for the boot
// processor (from either boot entry) and for the others (from the trampoline at the end of this
// file).
//
// The page tables used here are temporary: they map the first 4 GiB at address 0, at the direct
// map's base and, the first 2 GiB of them, at the kernel image's base, all readable, writable and
// executable. paging.cc replaces them; a processor that starts later passes through them again.

#include <machine/asm.h>

#define CR0_PE 0x1
#define CR0_WP 0x10000
#define CR0_PG 0x80000000
#define CR4_PAE 0x20
#define EFER_LME 0x100
#define EFER_NXE 0x800
#define PTE_PRESENT_WRITE 0x3
#define PTE_LARGE 0x80
#define CODE32 0x08
#define DATA32 0x10
#define CODE64 0x18
#define PHYSICAL(symbol) (symbol - kernel_image_base)

        .section .boot.text, "ax"
        .code32

        // eax = Multiboot2's magic or 0, ebx = boot information.
        .globl  start32
start32:
        movl    %eax, %edi              // the first two arguments of boot_processor_main
        movl    %ebx, %esi
        movl    $boot32_stack_top, %esp
        lgdt    boot_gdt_pointer        // PVH's entry comes with no GDT that could be reloaded
        ljmpl   $CODE32, $1f
1:      movl    $DATA32, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss

        movl    $0x80000000, %eax
        cpuid
        cmpl    $0x80000001, %eax
        jb      no_long_mode
        movl    $0x80000001, %eax
        cpuid
        btl     $29, %edx               // 64-bit mode
        jnc     no_long_mode
        btl     $20, %edx               // no-execute
        jnc     no_long_mode

        // 2,048 entries of 2 MiB, in four page directories that follow each other.
        xorl    %ecx, %ecx
1:      movl    %ecx, %eax
        shll    $21, %eax
        orl     $(PTE_PRESENT_WRITE | PTE_LARGE), %eax
        movl    %eax, boot_pd(, %ecx, 8)
        incl    %ecx
        cmpl    $2048, %ecx
        jb      1b

        movl    $(boot_pd + PTE_PRESENT_WRITE), %eax
        movl    %eax, boot_pdpt_low
        movl    %eax, boot_pdpt_high + 510 * 8
        addl    $0x1000, %eax
        movl    %eax, boot_pdpt_low + 8
        movl    %eax, boot_pdpt_high + 511 * 8
        addl    $0x1000, %eax
        movl    %eax, boot_pdpt_low + 16
        addl    $0x1000, %eax
        movl    %eax, boot_pdpt_low + 24
        movl    $(boot_pdpt_low + PTE_PRESENT_WRITE), %eax
        movl    %eax, boot_pml4
        movl    %eax, boot_pml4 + 256 * 8
        movl    $(boot_pdpt_high + PTE_PRESENT_WRITE), boot_pml4 + 511 * 8

        movl    $boot_entry64, %ebx
        jmp     enable_long_mode

        // ebx = where to go on in 64-bit mode. Preserves edi and esi.
enable_long_mode:
        movl    $CR4_PAE, %eax
        movl    %eax, %cr4
        movl    $boot_pml4, %eax
        movl    %eax, %cr3
        movl    $MSR_EFER, %ecx
        rdmsr
        orl     $(EFER_LME | EFER_NXE), %eax
        wrmsr
        movl    %cr0, %eax
        orl     $(CR0_PG | CR0_WP | CR0_PE), %eax
        movl    %eax, %cr0
        ljmpl   $CODE64, $1f
        .code64
1:      jmp     *%rbx

boot_entry64:
        movabsq $boot_stack_top, %rsp
        xorl    %ebp, %ebp
#if SPORK_SANITIZE_address
        movl    %edi, %ebx              // preserved, as is r12
        movl    %esi, %r12d
        movabsq $shadow_map_early, %rax
        call    *%rax
        movl    %ebx, %edi
        movl    %r12d, %esi
#endif
        movl    %edi, %edi
        movl    %esi, %esi
        movabsq $boot_processor_main, %rax
        call    *%rax
        ud2

other_entry64:
        movabsq $other_entry_high, %rax
        jmp     *%rax

        .code32
no_long_mode:
        movl    $message, %esi
        movw    $0x3f8, %dx
1:      lodsb
        testb   %al, %al
        jz      2f
        outb    %al, %dx
        jmp     1b
2:      hlt
        jmp     2b

        // The others arrive here from the trampoline, with the data segments unset.
other_start32:
        movl    $DATA32, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    $other_entry64, %ebx
        jmp     enable_long_mode

        .section .boot.data, "aw"
message:
        .asciz  "Spork needs a 64-bit processor with no-execute pages.\r\n"

        .align  8
boot_gdt:
        .quad   0
        .quad   0x00cf9b000000ffff      // CODE32: flat, execute and read
        .quad   0x00cf93000000ffff      // DATA32: flat, read and write
        .quad   0x00af9b000000ffff      // CODE64
boot_gdt_pointer:
        .word   . - boot_gdt - 1
        .long   boot_gdt

        .section .boot.bss, "aw", @nobits
        .align  4096
boot_pml4:      .skip 4096
boot_pdpt_low:  .skip 4096
boot_pdpt_high: .skip 4096
boot_pd:        .skip 4 * 4096
boot32_stack:   .skip 256
boot32_stack_top:

        // The boot processor's stack, with a page below it that paging.cc leaves unmapped.
        .section .bss.boot_stack, "aw", @nobits
        .align  4096
        .globl  boot_stack_guard, boot_stack, boot_stack_top
boot_stack_guard: .skip 4096
boot_stack:     .skip BOOT_STACK_SIZE
boot_stack_top:

        // Its stack is only in the kernel's own page tables, which do not have the code above.
        .text
        .code64
other_entry_high:
        movq    starting_cpu_page_table(%rip), %rax
        movq    %rax, %cr3
        movq    starting_cpu_stack(%rip), %rsp
        xorl    %ebp, %ebp
        call    other_processor_main
        ud2

        // Where a started processor begins: real mode, at the start of a page below 1 MiB to which
        // smp.cc has copied this. All it knows is its code segment.
        .section .rodata
        .globl  trampoline_start, trampoline_end
        .code16
trampoline_start:
        cli
        cld
        movw    %cs, %ax
        movw    %ax, %ds
        lgdtl   trampoline_gdt_pointer - trampoline_start
        movl    %cr0, %eax
        orl     $CR0_PE, %eax
        movl    %eax, %cr0
        ljmpl   $CODE32, $other_start32
        .align  4
trampoline_gdt_pointer:
        .word   boot_gdt_pointer - boot_gdt - 1
        .long   boot_gdt
trampoline_end:

        .section .note.GNU-stack, "", @progbits

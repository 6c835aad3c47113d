// The entry that QEMU's -kernel uses: the "PVH" boot ABI of Xen. A note of type
// XEN_ELFNOTE_PHYS32_ENTRY holds the address of a 32-bit entry; ebx there is the physical address
// of a hvm_start_info.

#define XEN_ELFNOTE_PHYS32_ENTRY 18

        .section .note.Xen, "a", @note
        .align  4
        .long   4                       // length of the name
        .long   8                       // length of the descriptor
        .long   XEN_ELFNOTE_PHYS32_ENTRY
        .asciz  "Xen"
        .quad   pvh_entry

        .section .boot.text, "ax"
        .code32
        .globl  pvh_entry
pvh_entry:
        cli
        cld
        xorl    %eax, %eax              // not Multiboot2: the start_info has a magic
        jmp     start32

        .section .note.GNU-stack, "", @progbits

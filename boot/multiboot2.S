// The header by which GRUB knows a Multiboot2 kernel (Multiboot2 specification, 3.1), and where it
// enters: 32-bit protected mode, paging off, eax = magic, ebx = physical address of the boot
// information.

#define MULTIBOOT2_HEADER_MAGIC 0xe85250d6
#define ARCHITECTURE_I386 0
#define TAG_END 0
#define TAG_INFORMATION_REQUEST 1
#define TAG_MODULE_ALIGN 6
#define INFO_COMMAND_LINE 1
#define INFO_MODULE 3
#define INFO_MEMORY_MAP 6

        .section .boot.multiboot2, "a"
        .align  8
header:
        .long   MULTIBOOT2_HEADER_MAGIC
        .long   ARCHITECTURE_I386
        .long   header_end - header
        .long   -(MULTIBOOT2_HEADER_MAGIC + ARCHITECTURE_I386 + (header_end - header))

        .align  8
        .word   TAG_INFORMATION_REQUEST, 0
        .long   20
        .long   INFO_COMMAND_LINE, INFO_MODULE, INFO_MEMORY_MAP

        .align  8
        .word   TAG_MODULE_ALIGN, 0
        .long   8

        .align  8
        .word   TAG_END, 0
        .long   8
header_end:

        .section .boot.text, "ax"
        .code32
        .globl  multiboot2_entry
multiboot2_entry:
        cli
        cld
        jmp     start32

        .section .note.GNU-stack, "", @progbits

// Instructions that may fault in the kernel, and where it goes on when they do. The linker gathers
// the entries of all files (section __ex_table); a kernel fault at any other instruction is a
// panic.
#pragma once

// A program's memory: first let the VM resolve the fault; a fixup only if it cannot.
#define EX_USER_ACCESS 1
// A program's memory, from where the VM may not be asked: the fixup at once.
#define EX_USER_ATOMIC 2
// An instruction that the processor may refuse (general protection).
#define EX_PROTECTION 3

#ifdef __ASSEMBLER__

#define EXCEPTION_ENTRY(instruction, fixup, kind)                                                  \
    .pushsection __ex_table, "a";                                                                  \
    .quad instruction, fixup, kind;                                                                \
    .popsection

#else

#include <cstdint>

#define EXCEPTION_ENTRY(instruction, fixup, kind)                                                  \
    ".pushsection __ex_table, \"a\"; .quad " #instruction ", " #fixup ", " #kind "; .popsection\n"

struct exception_entry {
    uint64_t instruction;
    uint64_t fixup;
    uint64_t kind;
};
// The entry of the instruction at `rip`, or null.
const exception_entry* exception_table_find(uint64_t rip);

#endif

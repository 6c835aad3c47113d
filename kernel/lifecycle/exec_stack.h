// The first stack of a program: what it finds of its arguments, its environment and itself.
//
//   top  ->  path, "x86_64", 16 random bytes
//            environment strings
//            argument strings
//            (16-byte boundary)
//            auxv, envp, argv, argc                 <- the stack pointer
#pragma once

#include "kernel/lifecycle/elf.h"
#include "kernel/lifecycle/exec_strings.h"

struct first_stack {
    const elf_image& image;
    const elf_image::placement& main;
    vaddr_t base; // where the interpreter is
    const exec_strings& arguments;
    const exec_strings& environment;
    const char* path;
    bool secure;
};

// Writes it below `top`. Returns the stack pointer; records the places of the strings. ENOMEM.
expected<vaddr_t> exec_build_stack(vmspace& vm, vaddr_t top, const first_stack& c);

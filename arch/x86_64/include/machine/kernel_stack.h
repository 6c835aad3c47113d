// Kernel stacks of kernel_stack_size bytes in the part of the address space that layout.h has for
// them. Given by their lowest mapped address.
#pragma once

#include "lib/result.h"

#include <cstdint>

expected<uint64_t> kernel_stack_allocate(); // ENOMEM
void kernel_stack_free(uint64_t base);      // not the one that the caller runs on
void kernel_stack_trim();                   // gives the cached ones' pages back

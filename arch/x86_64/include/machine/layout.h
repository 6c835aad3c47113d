// The kernel's half of every address space. All top-level (PML4) entries that are ever used here
// are made at boot and shared by every pmap, so that no pmap has to be updated later.
//
//   0xffff8000'00000000  direct map of physical memory (slots 256..383: up to 64 TiB)
//   0xffffc000'00000000  device registers and, 256 GiB up, kernel stacks (slot 384)
//   0xffffec00'00000000  the address sanitizer's shadow, where there is one (slots 472..504)
//   0xffffffff'80000000  the kernel image, linked at + its physical address (slot 511)
#pragma once

#include <cstdint>
#include <machine/asm.h>

inline constexpr uint64_t direct_map_base = 0xffff'8000'0000'0000;
inline constexpr uint64_t kernel_mappings_base = 0xffff'c000'0000'0000;
inline constexpr uint64_t kernel_stacks_base = 0xffff'c040'0000'0000;
inline constexpr uint64_t kernel_mappings_end = 0xffff'c080'0000'0000;
inline constexpr uint64_t kernel_image_base = 0xffff'ffff'8000'0000;

// Kernel stacks: each slot of 32 KiB has its stack in the upper half, and nothing in the lower. What a
// sanitizer adds to each function wants twice the room.
inline constexpr uint64_t kernel_stack_size = 16 * 1024 * STACK_SCALE;
inline constexpr uint64_t kernel_stack_slot = 2 * kernel_stack_size;
inline constexpr uint64_t kernel_stack_slots = 16384 / (STACK_SCALE * STACK_SCALE);

// Physical memory as the kernel reaches it: all of it is mapped at one offset (the direct map).
#pragma once

#include "lib/types.h"

// The direct-map address of a physical address, and back.
void* direct_map(paddr_t pa);
paddr_t direct_map_address(const void* p);

template <class T> T* direct_map_as(paddr_t pa) { return static_cast<T*>(direct_map(pa)); }

// Whole pages by 8-byte string moves; both page aligned.
void zero_page(void* page);
void copy_page(void* to, const void* from);

// The user part of an address space: [user_min, user_max).
inline constexpr vaddr_t user_min{0};
inline constexpr vaddr_t user_max{0x0000'7fff'ffff'f000};

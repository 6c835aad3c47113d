// The address sanitizer's shadow, as boot makes it (arch/x86_64/sanitize/address.cc). Nothing in other
// builds.
#pragma once

#include "lib/types.h"

#include <cstddef>
#include <cstdint>

struct memory_range;

// How boot makes page tables: the entry of a page, and a zeroed page to be kept.
struct shadow_maker {
    uint64_t& (*entry)(uint64_t va);
    paddr_t (*page)();
};

#if SPORK_SANITIZE_address
// Gives the memory that is mapped directly, the image and the stacks their shadow, in the tables that
// are being made; and once they are loaded, looks at each access from then on.
void shadow_map(const memory_range* ram, size_t count, shadow_maker maker, uint64_t bits);
void shadow_use();
#else
inline void shadow_map(const memory_range*, size_t, shadow_maker, uint64_t) {}
inline void shadow_use() {}
#endif

// Physical memory through the direct map.
#include "arch/memory.h"

#include "lib/assert.h"
#include "lib/sanitize.h"

#include <machine/layout.h>

void* direct_map(paddr_t pa) {
    CHECK_ASSERT(pa.value() < kernel_mappings_base - direct_map_base);
    return reinterpret_cast<void*>(direct_map_base + pa.value());
}

paddr_t direct_map_address(const void* p) {
    auto va = reinterpret_cast<uint64_t>(p);
    CHECK_ASSERT(va >= direct_map_base && va < kernel_mappings_base);
    return paddr_t(va - direct_map_base);
}

void zero_page(void* page) {
    sanitize_write(page, page_size);
    size_t words = page_size / 8;
    asm volatile("rep stosq" : "+D"(page), "+c"(words) : "a"(0) : "memory");
}

void copy_page(void* to, const void* from) {
    sanitize_read(from, page_size);
    sanitize_write(to, page_size);
    size_t words = page_size / 8;
    asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words)::"memory");
}

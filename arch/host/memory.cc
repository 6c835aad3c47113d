// Physical memory: one mapping of host memory, which is the direct map as well.
//
// It begins at machine_base, as a PC's usable memory does at 1 MiB, and has a hole in the
// middle, so that frames which are not RAM lie among those that are. vm/ tells the address
// sanitizer which pages are free (lib/sanitize.h).
#include "arch/memory.h"

#include "arch/boot_info.h"
#include "lib/assert.h"
#include "lib/string.h"
#include "vm/phys/vm_page.h"

#include "host_machine.h"

#include <sys/mman.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

boot_info the_boot_info;

namespace {

constexpr uint64_t machine_base = 1 << 20;
constexpr uint64_t hole_pages = 24;

char* arena; // where physical address machine_base is
uint64_t arena_size;

} // namespace

void host_machine_init(size_t page_count) {
    ASSERT(!arena && page_count >= 64);
    arena_size = (page_count + hole_pages) << page_shift;
    void* memory = mmap(nullptr, arena_size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        panic("host: no memory for a machine of %zu pages", page_count);
    // The search for leaks reads all of it, at the end of each process.
    madvise(memory, arena_size, MADV_HUGEPAGE);
    arena = static_cast<char*>(memory);
#if defined(__SANITIZE_ADDRESS__)
    __lsan_register_root_region(arena, arena_size); // pmaps in it own host memory
#endif
    // The first range is the larger one: vm_page_init() puts its array there.
    const uint64_t upper_pages = page_count / 4, lower_pages = page_count - upper_pages;
    const uint64_t upper = machine_base + ((lower_pages + hole_pages) << page_shift);
    the_boot_info.ranges[0] = {paddr_t(machine_base), lower_pages << page_shift, true};
    the_boot_info.ranges[1] = {paddr_t(upper), upper_pages << page_shift, true};
    the_boot_info.range_count = 2;
    the_boot_info.loader = "host";
    vm_page_init(the_boot_info);
}

void* direct_map(paddr_t pa) {
    ASSERT(pa.value() - machine_base < arena_size);
    return arena + (pa.value() - machine_base);
}

paddr_t direct_map_address(const void* p) {
    const uint64_t offset = reinterpret_cast<uintptr_t>(p) - reinterpret_cast<uintptr_t>(arena);
    ASSERT(offset < arena_size);
    return paddr_t(machine_base + offset);
}

void zero_page(void* page) {
    ASSERT((reinterpret_cast<uintptr_t>(page) & page_mask) == 0);
    memset(page, 0, page_size);
}

void copy_page(void* to, const void* from) {
    ASSERT(((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) & page_mask) ==
           0);
    memcpy(to, from, page_size);
}

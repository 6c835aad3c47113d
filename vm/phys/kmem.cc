// kmem(9): memory of any size. Up to 2 KiB from pools of graded sizes, above that whole pages.
#include "lib/assert.h"
#include "lib/sanitize.h"
#include "vm/phys/pool.h"
#include "vm/phys/vm_page.h"

#include "lib/string.h"

#include <algorithm>
#include <bit>

namespace {

// Each class is at most a third larger than the one before, from 64 bytes up.
constexpr size_t class_sizes[] = {16,  32,  48,  64,  96,   128,  192,
                                  256, 384, 512, 768, 1024, 1344, 2016};
constexpr size_t class_count = sizeof(class_sizes) / sizeof(class_sizes[0]);
constexpr size_t largest_class = class_sizes[class_count - 1];
constexpr size_t largest_size = page_size << 10;

constinit pool_base pools[class_count] = {
    {"kmem-16", 16, 16},     {"kmem-32", 32, 16},     {"kmem-48", 48, 16},
    {"kmem-64", 64, 16},     {"kmem-96", 96, 16},     {"kmem-128", 128, 16},
    {"kmem-192", 192, 16},   {"kmem-256", 256, 16},   {"kmem-384", 384, 16},
    {"kmem-512", 512, 16},   {"kmem-768", 768, 16},   {"kmem-1024", 1024, 16},
    {"kmem-1344", 1344, 16}, {"kmem-2016", 2016, 16},
};

constinit std::atomic<uint64_t> bytes_in_use{0};

pool_base& pool_for(size_t size) {
    size_t i = 0;
    while (class_sizes[i] < size)
        i++;
    return pools[i];
}

void* allocate_pages(size_t size) {
    if (size > largest_size)
        return nullptr;
    const uint64_t wanted = pages_of(size);
    const unsigned order = static_cast<unsigned>(std::bit_width(wanted - 1));
    // Between pages in a row there may be some that pools keep, for nobody.
    vm_page* block = vm_page_alloc_contiguous(order, page_owner::kernel,
                                              [] { return pool_base::trim_all() != 0; });
    if (!block)
        return nullptr;
    for (uint64_t i = wanted; i < uint64_t{1} << order; i++)
        vm_page_free(block + i);
    sanitize_unpoison(block->data(), size, wanted << page_shift);
    return block->data();
}

void* allocate_from_pool(size_t size) {
    pool_base& pool = pool_for(size);
    void* memory = pool.allocate();
    if (memory)
        sanitize_unpoison(memory, std::max<size_t>(size, 1), pool.object_size());
    return memory;
}

} // namespace

void* kmem_alloc(size_t size) {
    void* memory = size <= largest_class ? allocate_from_pool(size) : allocate_pages(size);
    if (memory)
        bytes_in_use.fetch_add(size, std::memory_order_relaxed);
    return memory;
}

void* kmem_zalloc(size_t size) {
    void* memory = kmem_alloc(size);
    if (memory)
        memset(memory, 0, size);
    return memory;
}

void kmem_free(void* memory, size_t size) {
    if (!memory)
        return;
    bytes_in_use.fetch_sub(size, std::memory_order_relaxed);
    if (size <= largest_class)
        return pool_for(size).deallocate(memory);
    vm_page* first = vm_page_of(direct_map_address(memory));
    ASSERT(first && first->data() == memory);
    for (uint64_t i = 0; i < pages_of(size); i++)
        vm_page_free(first + i);
}

uint64_t kmem_bytes_in_use() { return bytes_in_use.load(std::memory_order_relaxed); }

// Kernel stacks: slots of address space, each with unmapped room below the stack, so that an
// overflow is a double fault and not somebody else's data.
//
// A freed stack stays mapped in a small cache: fork and exit would otherwise pay for four mappings
// and a TLB shootdown each.
#include <machine/kernel_stack.h>

#include "arch//pmap.h"
#include "arch/machine.h"
#include "lib/assert.h"
#include "lib/lock.h"
#include "vm/vm_page.h"

#include <bit>
#include <machine/layout.h>

namespace {

constexpr size_t max_slots = 16384;
constexpr size_t max_cached = 32;
static_assert(kernel_stacks_base + max_slots * kernel_stack_slot <= kernel_mappings_end);

spin_lock stacks_lock{lock_rank::pool, "kernel_stacks"};
uint64_t used_slots[max_slots / 64] GUARDED_BY(stacks_lock);
uint64_t cached[max_cached] GUARDED_BY(stacks_lock); // lowest addresses of free, mapped stacks
size_t cached_count GUARDED_BY(stacks_lock);

uint64_t stack_of_slot(size_t slot) {
    return kernel_stacks_base + (slot + 1) * kernel_stack_slot - kernel_stack_size;
}

uint64_t take_slot() REQUIRES(stacks_lock) {
    for (size_t i = 0; i < max_slots / 64; i++) {
        if (used_slots[i] == UINT64_MAX)
            continue;
        auto bit = static_cast<unsigned>(std::countr_one(used_slots[i]));
        used_slots[i] |= uint64_t{1} << bit;
        return stack_of_slot(i * 64 + bit);
    }
    return 0;
}

void give_slot_back(uint64_t base) {
    size_t slot = (base - kernel_stacks_base) / kernel_stack_slot;
    lock_guard guard(stacks_lock);
    ASSERT(base == stack_of_slot(slot) && (used_slots[slot / 64] >> slot % 64 & 1));
    used_slots[slot / 64] &= ~(uint64_t{1} << slot % 64);
}

// Unmaps the lowest `size` bytes of a stack and frees their pages.
void unmap_pages(uint64_t base, uint64_t size) {
    constexpr size_t pages = kernel_stack_size / page_size;
    vm_page* freed[pages] = {};
    for (size_t i = 0; i < size / page_size; i++)
        freed[i] = vm_page_of(pmap::kernel().lookup(vaddr_t(base + i * page_size))->pa);
    if (size)
        pmap::kernel_remove(vaddr_t(base), size);
    for (size_t i = 0; i < size / page_size; i++)
        vm_page_free(freed[i]);
}

bool map_pages(uint64_t base) {
    for (uint64_t offset = 0; offset < kernel_stack_size; offset += page_size) {
        owned_page page(vm_page_alloc(page_owner::kernel));
        if (!page || !pmap::kernel_enter(vaddr_t(base + offset), page->physical(), vm_prot::rw)) {
            unmap_pages(base, offset);
            return false;
        }
        (void)page.release();
    }
    return true;
}

} // namespace

expected<uint64_t> kernel_stack_allocate() {
    uint64_t base;
    {
        lock_guard guard(stacks_lock);
        if (cached_count > 0)
            return cached[--cached_count];
        base = take_slot();
    }
    if (!base)
        return fail(Errno::nomem);
    if (!map_pages(base)) {
        give_slot_back(base);
        return fail(Errno::nomem);
    }
    return base;
}

void kernel_stack_free(uint64_t base) {
    {
        lock_guard guard(stacks_lock);
        if (cached_count < max_cached) {
            cached[cached_count++] = base;
            return;
        }
    }
    unmap_pages(base, kernel_stack_size);
    give_slot_back(base);
}

uint64_t machine_kernel_stack_bytes() {
    lock_guard guard(stacks_lock);
    uint64_t stacks = 0;
    for (uint64_t slots : used_slots)
        stacks += static_cast<unsigned>(std::popcount(slots));
    return stacks * kernel_stack_size;
}

void kernel_stack_trim() {
    for (;;) {
        uint64_t base;
        {
            lock_guard guard(stacks_lock);
            if (cached_count == 0)
                return;
            base = cached[--cached_count];
        }
        unmap_pages(base, kernel_stack_size);
        give_slot_back(base);
    }
}

// Kernel stacks: slots of address space, each with unmapped room below the stack, so that an
// overflow is a double fault and not somebody else's data.
//
// A freed stack stays mapped in a stock: fork and exit would otherwise pay for four mappings and a
// TLB shootdown each. When the stock is full, half of it is unmapped with one shootdown, so that
// the end of very many threads costs each a small part of one. Stacks in the stock are nobody's:
// the memory counts as the kernel's (KernelStack in /proc/meminfo) and their threads as freed
// (process::unfreed_threads), and a leak check empties the stock first (kernel_stack_trim).
#include <machine/kernel_stack.h>

#include "arch//pmap.h"
#include "arch/machine.h"
#include "lib/assert.h"
#include "lib/lock.h"
#include "lib/sanitize.h"
#include "vm/phys/vm_page.h"

#include <bit>
#include <machine/layout.h>
#include <span>

namespace {

constexpr size_t max_slots = kernel_stack_slots;
constexpr size_t max_cached = 64;
constexpr size_t unmapped_at_once = max_cached / 2;
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

void give_slot_back(uint64_t base) REQUIRES(stacks_lock) {
    size_t slot = (base - kernel_stacks_base) / kernel_stack_slot;
    ASSERT(base == stack_of_slot(slot) && (used_slots[slot / 64] >> slot % 64 & 1));
    used_slots[slot / 64] &= ~(uint64_t{1} << slot % 64);
}

// Unmaps the lowest `size` bytes of each stack, frees their pages and gives the slots back.
void unmap(std::span<const vaddr_t> bases, uint64_t size) {
    list<vm_page, &vm_page::queue> freed;
    for (vaddr_t base : bases)
        for (uint64_t offset = 0; offset < size; offset += page_size)
            freed.push_back(*vm_page_of(pmap::kernel().lookup(base + offset)->pa));
    if (size)
        pmap::kernel_remove(bases, size);
    while (vm_page* page = freed.pop_front())
        vm_page_free(page);
    for (vaddr_t base : bases) {
        lock_guard guard(stacks_lock);
        give_slot_back(base.value());
    }
}

// Unmaps up to unmapped_at_once stacks of the stock, unless there are not more than `left`. False
// when there were none.
bool shrink_stock(size_t left) {
    vaddr_t bases[unmapped_at_once];
    size_t n = 0;
    {
        lock_guard guard(stacks_lock);
        while (cached_count > left && n < unmapped_at_once)
            bases[n++] = vaddr_t(cached[--cached_count]);
    }
    unmap({bases, n}, kernel_stack_size);
    return n != 0;
}

// False when out of memory: the slot has been given back.
bool map_pages(uint64_t base) {
    for (uint64_t offset = 0; offset < kernel_stack_size; offset += page_size) {
        owned_page page(vm_page_alloc(page_owner::kernel));
        if (!page || !pmap::kernel_enter(vaddr_t(base + offset), page->physical(), vm_prot::rw)) {
            const vaddr_t begun[] = {vaddr_t(base)};
            unmap(begun, offset);
            return false;
        }
        (void)page.release();
    }
    return true;
}

expected<uint64_t> take_stack() {
    uint64_t base;
    {
        lock_guard guard(stacks_lock);
        if (cached_count > 0)
            return cached[--cached_count];
        base = take_slot();
    }
    if (!base)
        return fail(Errno::nomem);
    if (!map_pages(base))
        return fail(Errno::nomem);
    return base;
}

} // namespace

expected<uint64_t> kernel_stack_allocate() {
    auto base = take_stack();
    if (base)
        sanitize_unpoison(reinterpret_cast<void*>(*base), kernel_stack_size);
    return base;
}

void kernel_stack_free(uint64_t base) {
    sanitize_poison(reinterpret_cast<void*>(base), kernel_stack_size);
    for (;;) {
        {
            lock_guard guard(stacks_lock);
            if (cached_count < max_cached) {
                cached[cached_count++] = base;
                return;
            }
        }
        shrink_stock(max_cached - unmapped_at_once);
    }
}

uint64_t machine_kernel_stack_bytes() {
    lock_guard guard(stacks_lock);
    uint64_t stacks = 0;
    for (uint64_t slots : used_slots)
        stacks += static_cast<unsigned>(std::popcount(slots));
    return stacks * kernel_stack_size;
}

void kernel_stack_trim() {
    while (shrink_stock(0)) {
    }
}

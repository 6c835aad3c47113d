// pv lists: from a page to its mappings, and what is done to all mappings of a page. A list is a
// first entry, which lies in the page, and a tree of the others.
//
// Each list has a lock, found by hashing the page's frame. Order: a pmap's lock before the pv
// lock, as enter() and remove() take them. page_protect() comes from the other side: it
// finds the pmaps in the list. It only tries for a pmap's lock, and lets go of the list and
// starts again when somebody else has it. While it holds the pv lock an entry's pmap cannot go
// away, because destroy() must take the entry out first.
//
// page_protect, for each mapping of a page:
//   1. lock the list; take the first mapping that still has a right which is to go
//   2. try its pmap's lock; if somebody has it, let go of the list, and begin again
//   3. clear or lower the entry; if it is cleared, take it out of the list
//   4. flush, with both locks held; prune tables that are empty
//   5. at the end wait for removals that have not flushed yet:
//
// remove() takes many entries out and flushes once, at the end. Until then other CPUs may reach a
// page that is on no list: page_protect() waits for such removals (pv_unflushed), since an object's
// page is freed after it, whoever else is about to unmap it. (FreeBSD knows the same as delayed
// invalidation.) enter() needs that not: who replaces a page holds the lock of the page's owner.
//
// The page of zeros has no list (vm_page::mappings_unlisted): nobody takes it away, and it may have
// very many mappings.
//
// A mapping's PTE may be read, and its accessed and dirty bits changed, with the pv lock
// alone: whoever unmaps a page clears the PTE first, then takes the entry out under the pv lock,
// and frees page tables last, so the table is there as long as the entry is. The PTE may be clear
// already, or map another page that enter() put in its place; that is why the frame is compared.
#include "arch/pmap.h"

#include "arch/cpu.h"
#include "lib/assert.h"
#include "vm/phys/event.h"
#include "vm/phys/pool.h"
#include "vm/phys/uvmexp.h"

#include "pmap_cursor.h"

#include <array>
#include <bit>
#include <functional>
#include <machine/tlb.h>
#include <utility>

namespace {

constexpr size_t lock_count = 64;
struct alignas(64) padded_lock {
    spin_lock lock{lock_rank::pv, "pv list"};
    // Passes that have taken entries out of these lists and have not flushed yet.
    std::atomic<uint32_t> unflushed{0};
};
constinit std::array<padded_lock, lock_count> pv_locks;

constinit pool<pv_further> pv_entries{"pv_entry"};

size_t lock_index(const vm_page& page) {
    return (reinterpret_cast<uintptr_t>(&page) / sizeof(vm_page)) % lock_count;
}
spin_lock& pv_lock_of(const vm_page& page) { return pv_locks[lock_index(page)].lock; }

// Walks without the pmap's lock, which the pv entry allows (see above).
pte_cursor at_mapping(const pv_entry& e) NO_THREAD_SAFETY_ANALYSIS {
    return pte_cursor(*e.owner, e.va);
}

bool same(const pv_entry& e, const pmap_machine& owner, uint64_t va) {
    return e.owner == &owner && e.va == va;
}

// The first of the further entries that is (owner, va) or behind it; null: none.
pv_further* further_from(const vm_page& page, const pmap_machine& owner, uint64_t va) {
    return page.md.further.first_where([&](const pv_further& f) {
        return f.at.owner == &owner ? f.at.va >= va : std::greater{}(f.at.owner, &owner);
    });
}

// Calls visit(entry) for each entry of the page, until one returns false; whether none did. Its pv
// lock is held.
template <class Visit> bool each_entry(const vm_page& page, Visit visit) {
    if (!page.md.mapped())
        return true;
    if (!visit(page.md.first))
        return false;
    for (pv_further* f = page.md.further.first(); f; f = page.md.further.next(*f))
        if (!visit(f->at))
            return false;
    return true;
}

// Calls visit(entry, pte) for each mapping of the page; its pv lock is held.
template <class Visit> void for_each_mapping(vm_page& page, Visit visit) {
    each_entry(page, [&](const pv_entry& e) {
        const pte_cursor at = at_mapping(e);
        if (pte_maps(at.value(), page.physical()))
            visit(e, at.pte());
        return true;
    });
}

// Clears `bits` in all PTEs of a page; returns whether any was set.
bool clear_in_mappings(vm_page& page, pte_t bits) {
    bool seen = false;
    for_each_mapping(page, [&](const pv_entry& e, pte_t& pte) {
        pte_t before = pte_load(pte);
        // Not if it has become another page's meanwhile.
        while ((before & bits) && pte_frame(before) == page.physical()) {
            if (!pte_atomic(pte).compare_exchange_weak(before, before & ~bits))
                continue;
            seen = true;
            // A TLB that has the bit set would not set it again.
            tlb::batch flush;
            flush.add(e.va);
            tlb::flush(*e.owner, flush);
            break;
        }
    });
    return seen;
}

bool any_in_mappings(vm_page& page, pte_t bit) {
    bool seen = false;
    for_each_mapping(page,
                     [&](const pv_entry&, pte_t& pte) { seen |= (pte_load(pte) & bit) != 0; });
    return seen;
}

void harvest(vm_page& page, pte_t old) {
    page.md.referenced |= (old & pte_accessed) != 0;
    page.md.modified |= (old & pte_dirty) != 0;
}

// Takes out the entry (owner, va); the pv lock is held. Another one becomes the first.
void unlink_entry(vm_page& page, const pmap_machine& owner, uint64_t va) {
    page_machine& md = page.md;
    pv_further* gone;
    if (same(md.first, owner, va)) {
        gone = md.further.root();
        md.first.va = gone ? gone->at.va : 0;
        __atomic_store_n(&md.first.owner, gone ? gone->at.owner : nullptr, __ATOMIC_RELEASE);
    } else {
        gone = further_from(page, owner, va);
        if (!gone || !same(gone->at, owner, va))
            panic("pmap: page %#lx has no pv entry for address %#lx", page.physical().value(), va);
    }
    if (gone) {
        md.further.erase(*gone);
        pv_entries.destroy(gone);
    }
}

// Removes the mapping of the page at `va` in `m`. Its pv lock and the pmap's lock are held.
[[gnu::noinline]] void remove_mapping(vm_page& page, pmap_machine& m, uint64_t va,
                                      unhooked_tables& dead) REQUIRES(m.lock) {
    const pte_cursor at(m, va);
    if (!pte_maps(at.value(), page.physical())) [[unlikely]]
        panic(
            "broken rule: pmap: a page is listed as mapped where the page table maps it, and only "
            "there: page 0x%lx, listed for address 0x%lx, where is 0x%lx",
            page.physical().value(), va, at.value());
    pte_t old = pte_clear(at.pte());
    harvest(page, old);
    unlink_entry(page, m, va);
    pmap_count_mapping(m, page, -1);
    if (old & pte_wired)
        pmap_add(m.wired, -1);
    pmap_entries_changed(at.pte(), -1);
    pmap_prune(m, va, dead);
    tlb::batch flush;
    if (pte_needs_flush(old, 0) || !dead.empty())
        flush.add(va);
    tlb::flush(m, flush);
}

// Lowers the rights of that mapping, if it has some to lose; locks as above.
[[gnu::noinline]] bool lower_mapping(vm_page& page, pmap_machine& m, uint64_t va, vm_prot prot)
    REQUIRES(m.lock) {
    const pte_cursor at(m, va);
    ASSERT(pte_maps(at.value(), page.physical()));
    const pte_t before = pte_lower(at.pte(), prot);
    tlb::batch flush;
    if (before & pte_accessed) // otherwise it is in no TLB
        flush.add(va);
    tlb::flush(m, flush);
    return before != 0;
}

// One pass over the page's mappings, which adds up how many it changed. False if a pmap's lock was
// not to be had.
bool try_page_protect(vm_page& page, vm_prot prot, uint64_t& changed) {
    unhooked_tables dead;
    lock_guard pv_guard(pv_lock_of(page));
    auto lower = [&](const pv_entry& e) {
        pmap_machine& m = *e.owner;
        if (!m.lock.try_lock())
            return false;
        if (prot == vm_prot::none) {
            remove_mapping(page, m, e.va, dead);
            changed++;
        } else {
            changed += lower_mapping(page, m, e.va, prot);
        }
        m.lock.unlock();
        return true;
    };
    if (prot != vm_prot::none)
        return each_entry(page, lower);
    while (page.md.mapped())
        if (!lower(page.md.first))
            return false;
    return true;
}

} // namespace

void pv_unflushed::note(const vm_page& page) {
    static_assert(lock_count <= 64);
    const size_t i = lock_index(page);
    if (lists_ >> i & 1)
        return;
    lists_ |= uint64_t{1} << i;
    pv_locks[i].unflushed.fetch_add(1, std::memory_order_relaxed); // seen with the list's lock
}

pv_unflushed::~pv_unflushed() {
    for (; lists_ != 0; lists_ &= lists_ - 1)
        pv_locks[std::countr_zero(lists_)].unflushed.fetch_sub(1, std::memory_order_release);
}

bool pv_insert(vm_page& page, pmap_machine& owner, uint64_t va) {
    if (page.mappings_unlisted())
        return true;
    lock_guard guard(pv_lock_of(page));
    if (!page.md.mapped()) [[likely]] {
        page.md.first.va = va;
        __atomic_store_n(&page.md.first.owner, &owner, __ATOMIC_RELEASE);
        return true;
    }
    pv_further* f = pv_entries.create(pv_entry{&owner, va});
    if (!f)
        return false;
    page.md.further.insert_before(further_from(page, owner, va), *f);
    return true;
}

void pv_remove(vm_page& page, pmap_machine& owner, uint64_t va, pte_t old) {
    if (page.mappings_unlisted())
        return;
    lock_guard guard(pv_lock_of(page));
    harvest(page, old);
    unlink_entry(page, owner, va);
}

void pv_check(vm_page& page, const pmap_machine& owner, uint64_t va) {
    if (page.mappings_unlisted())
        return;
    lock_guard guard(pv_lock_of(page));
    unsigned found = 0;
    auto is_right = [&](const pv_entry& e) {
        found += e.va == va;
        // Nobody changes this pmap's tables: the caller holds its lock.
        ASSERT(page_round_down(e.va) == e.va && pte_maps(at_mapping(e).value(), page.physical()));
    };
    if (page.md.first.owner == &owner)
        is_right(page.md.first);
    const pv_further* f = further_from(page, owner, 0);
    for (; f && f->at.owner == &owner; f = page.md.further.next(*f))
        is_right(f->at);
    ASSERT(found == 1);
}

void pmap::page_protect(vm_page& page, vm_prot prot) {
    uint64_t changed = 0;
    // Whoever holds the lock of the page's owner knows that no mapping comes: without one, as where an
    // address space has just been unmapped, the list's lock is not needed to see that.
    while (page.md.seen_mapped() && !try_page_protect(page, prot, changed))
        cpu::relax();
    // Mappings that remove() is at have no entry any more, but are not flushed before it has done.
    while (pv_locks[lock_index(page)].unflushed.load(std::memory_order_acquire) != 0)
        cpu::relax();
    EVENT(page_protected, .page = page.physical(), .prot = trace::protection(prot),
          .entries = changed);
}

bool pmap::is_referenced(vm_page& page) {
    lock_guard guard(pv_lock_of(page));
    return page.md.referenced || any_in_mappings(page, pte_accessed);
}

bool pmap::is_modified(vm_page& page) {
    lock_guard guard(pv_lock_of(page));
    return page.md.modified || any_in_mappings(page, pte_dirty);
}

bool pmap::is_wired(vm_page& page) {
    lock_guard guard(pv_lock_of(page));
    return any_in_mappings(page, pte_wired);
}

bool pmap::clear_referenced(vm_page& page) {
    lock_guard guard(pv_lock_of(page));
    bool in_mappings = clear_in_mappings(page, pte_accessed);
    return std::exchange(page.md.referenced, false) || in_mappings;
}

bool pmap::clear_modified(vm_page& page) {
    lock_guard guard(pv_lock_of(page));
    bool in_mappings = clear_in_mappings(page, pte_dirty);
    return std::exchange(page.md.modified, false) || in_mappings;
}

unsigned pmap::mapping_count(vm_page& page) {
    lock_guard guard(pv_lock_of(page));
    unsigned n = 0;
    each_entry(page, [&](const pv_entry&) { return ++n; });
    return n;
}

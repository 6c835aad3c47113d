// pmap for x86-64: mappings of one address space.
//
// Every mapping that enter() makes has a pv entry (pmap_pv.cc); kernel_enter()'s have none.
// Page tables are counted and freed when they become empty (pmap_tables.cc). Whoever takes a
// right away collects the addresses in a tlb::batch while it changes the tables, flushes the batch
// with the pmap still locked, and only then lets go of pages and tables (tlb.cc).
#include "arch/pmap.h"

#include "arch/cpu.h"
#include "lib/assert.h"
#include "lib/long_work.h"
#include "lib/string.h"
#include "vm/phys/event.h"
#include "vm/phys/pool.h"
#include "vm/phys/uvmexp.h"

#include "pmap_tables.h"

#include <algorithm>
#include <machine/boot.h>
#include <machine/tlb.h>
#include <utility>

namespace {

constinit pool<pmap> pmaps{"pmap"};
constinit pmap kernel_pmap;

// How many level-1 tables a range operation changes before it lets go of the lock.
constexpr unsigned tables_at_once = 8;

// Whether the eight entries from `pte` on are all clear. Most of a table is, where little memory is
// mapped, and eight at a time they are soon passed over.
constexpr size_t stride = 8;
bool none_present(pte_t* pte) {
    pte_t all = 0;
#pragma GCC unroll 8
    for (size_t i = 0; i < stride; i++)
        all |= pte_load(pte[i]);
    return !(all & pte_present);
}

// The address at which the next entry of the table that the hole is in is present, or that
// table ends, or something from `end` on.
uint64_t end_of_hole(table_hole hole, uint64_t va, uint64_t end) {
    const uint64_t span = level_span(hole.level);
    size_t i = table_index(va, hole.level);
    va &= ~(span - 1);
    do {
        va += span;
        i++;
        hole.entry++;
        while (i % stride == 0 && i < table_size && va < end && none_present(hole.entry)) {
            va += stride * span;
            i += stride;
            hole.entry += stride;
        }
    } while (va < end && i < table_size && !(pte_load(*hole.entry) & pte_present));
    return std::min(va, end);
}

// Calls visit(pte) for each entry in use in [va, end), in at most tables_at_once tables, and
// after each table done(table, first address in it); empty regions are stepped over by their
// size. Returns where to go on.
template <class Visit, class Done>
uint64_t walk(pmap_machine& m, uint64_t va, uint64_t end, Visit visit, Done done) REQUIRES(m.lock) {
    for (unsigned tables = 0; va < end && tables < tables_at_once;) {
        table_hole hole;
        pte_t* table = pmap_find_table(m, va, hole);
        if (!table) {
            va = end_of_hole(hole, va, end);
            continue;
        }
        tables++;
        const uint64_t first = va;
        const uint64_t last = std::min(end, (va | (level_span(2) - 1)) + 1);
        pte_t* pte = &table[table_index(va, 1)];
        while (va < last) {
            size_t step = 1;
            if (pte_load(*pte) & pte_present)
                visit(*pte, va);
            else if (table_index(va, 1) % stride == 0 && none_present(pte))
                step = stride;
            va += step * page_size;
            pte += step;
        }
        va = last;
        done(table, first);
    }
    return va;
}

// What one pass over a part of a range has done.
struct progress {
    uint64_t next;     // where the next pass begins
    uint64_t mappings; // that were changed
};

progress remove_some(pmap_machine& m, uint64_t va, uint64_t end) {
    page_list dead;
    uint64_t all = 0;
    {
        lock_guard guard(m.lock);
        tlb::batch flush;
        pv_unflushed unflushed; // ends after the flush
        int removed = 0;
        va = walk(
            m, va, end,
            [&](pte_t& pte, uint64_t at) {
                pte_t old = pte_atomic(pte).exchange(0);
                vm_page* page = vm_page_of(pte_frame(old));
                if (pte_needs_flush(old, 0)) {
                    flush.add(at);
                    if (tlb::loaded_elsewhere(m)) [[unlikely]]
                        unflushed.note(*page);
                }
                pv_remove(*page, m, at, old);
                removed++;
                pmap_count_mapping(m, *page, -1);
                if (old & pte_wired)
                    pmap_add(m.wired, -1);
            },
            [&](pte_t* table, uint64_t first) NO_THREAD_SAFETY_ANALYSIS {
                pmap_entries_changed(table, -removed);
                all += static_cast<uint64_t>(std::exchange(removed, 0));
                pmap_prune(m, first, dead);
                if (!dead.empty() && flush.empty())
                    flush.add(first); // for the caches of the tables' upper levels
            });
        tlb::flush(m, flush);
        if (m.resident == 0)
            va = end; // the rest is a hole
    }
    pmap_free_tables(dead);
    return {va, all};
}

progress protect_some(pmap_machine& m, uint64_t va, uint64_t end, vm_prot prot) {
    // What pte_lowered() does, as the bits that it clears and sets.
    const pte_t taken = ~pte_lowered(~pte_t{0}, prot), given = pte_lowered(0, prot);
    lock_guard guard(m.lock);
    uint64_t lowered = 0;
    tlb::batch flush;
    va = walk(
        m, va, end,
        [&](pte_t& pte, uint64_t at) {
            // Once for each resident page in every fork: this loop is what fork costs by size.
            pte_t before = pte_load(pte);
            do {
                if (!(before & taken) && (before & given) == given)
                    return; // it has no right to lose
            } while (!pte_atomic(pte).compare_exchange_weak(before, (before & ~taken) | given));
            lowered++;
            if (before & pte_accessed) // otherwise it is in no TLB
                flush.add(at);
        },
        [](pte_t*, uint64_t) {});
    tlb::flush(m, flush);
    return {va, lowered};
}

// Repeats one of the above until the range is done; returns how many mappings were changed.
template <class Pass> uint64_t whole_range(vaddr_t start, vaddr_t end, Pass pass) {
    ASSERT(start.page_aligned() && end.page_aligned() && start <= end && end <= user_max);
    uint64_t mappings = 0;
    for (uint64_t va = start.value(); va < end.value();) {
        const progress p = pass(va);
        va = p.next;
        mappings += p.mappings;
        long_work::pause();
    }
    return mappings;
}

} // namespace

pmap& pmap::kernel() {
    pmap_machine& m = kernel_pmap.md_;
    if (!m.root) [[unlikely]] { // the first call comes from the boot CPU, alone
        m.is_kernel = true;
        m.root = direct_map_as<pte_t>(kernel_page_table());
        tlb::join();
    }
    return kernel_pmap;
}

pmap_machine& pmap_machine::of(pmap& p) { return p.md_; }
pmap_machine& pmap_kernel_machine() { return pmap_machine::of(pmap::kernel()); }

pmap* pmap::create() {
    vm_page* root = vm_page_alloc(page_owner::page_table);
    if (!root)
        return nullptr;
    pmap* p = pmaps.create();
    if (!p) {
        vm_page_free(root);
        return nullptr;
    }
    pmap_machine& m = p->md_;
    m.root = static_cast<pte_t*>(root->data());
    memset(m.root, 0, first_kernel_slot * sizeof(pte_t));
    memcpy(m.root + first_kernel_slot, pmap_kernel_machine().root + first_kernel_slot,
           (table_size - first_kernel_slot) * sizeof(pte_t));
    pmap_count_table(m, 1);
    EVENT(pmap_created, .pmap = p);
    return p;
}

void pmap::destroy() {
    ASSERT(this != &kernel_pmap);
    // First, so that tearing down needs no flushes.
    tlb::unload(md_);
    if (md_.resident != 0)
        remove(vaddr_t(0), user_max);
    ASSERT(md_.resident == 0 && md_.anons == 0 && md_.objects == 0 && md_.wired == 0 &&
           md_.tables == 1 && md_.loaded_on == 0);
    pmap_count_table(md_, -1);
    vm_page_free(vm_page_of(direct_map_address(md_.root)));
    pmaps.destroy(this);
    EVENT(pmap_destroyed, .pmap = this);
}

status pmap::enter(vaddr_t va, vm_page& page, vm_prot prot, pmap_enter_flags flags) {
    CHECK_ASSERT(va.page_aligned() && va < user_max && prot != vm_prot::none && !md_.is_kernel);
    pmap_machine& m = md_;
    pte_t entry = page.physical().value() | pte_user | pte_of_prot(prot);
    if (flags.wired)
        entry |= pte_wired;
    if (flags.access != vm_prot::none)
        entry |= pte_accessed;
    if (allows(flags.access, vm_prot::write))
        entry |= pte_dirty;

    page_list dead;
    tlb::batch flush;
    {
        lock_guard guard(m.lock);
        pte_t* pte = pmap_make_pte(m, va.value(), dead);
        pte_t old = pte ? pte_load(*pte) : 0;
        if (old & pte_present && pte_frame(old) == page.physical()) {
            // New rights for a page that is there. The processors may set its bits meanwhile.
            pte_t changed;
            do
                changed = entry | (old & (pte_accessed | pte_dirty));
            while (!pte_atomic(*pte).compare_exchange_weak(old, changed));
            if (pte_needs_flush(old, changed))
                flush.add(va.value());
            else if (tlb::loaded_here(m))
                tlb::invalidate_here(va.value()); // spares this CPU a spurious fault
        } else if (pte && pv_insert(page, m, va.value())) {
            // From here on nothing can fail.
            if (old & pte_present) {
                old = pte_atomic(*pte).exchange(0);
                vm_page& before = *vm_page_of(pte_frame(old));
                pv_remove(before, m, va.value(), old);
                pmap_count_mapping(m, before, -1);
                if (pte_needs_flush(old, 0))
                    flush.add(va.value());
            } else {
                pmap_entries_changed(pte, 1);
            }
            pmap_count_mapping(m, page, 1);
            pte_atomic(*pte).store(entry, std::memory_order_release);
        } else { // out of memory
            if (pte)
                pmap_prune(m, va.value(), dead);
            if (!dead.empty())
                flush.add(va.value());
            tlb::flush(m, flush);
            guard.unlock();
            pmap_free_tables(dead);
            return fail(Errno::nomem);
        }
        if ((entry ^ old) & pte_wired) [[unlikely]]
            pmap_add(m.wired, entry & pte_wired ? 1 : -1);
        if (!flush.empty())
            tlb::flush(m, flush);
    }
    EVENT(pte_entered, .pmap = this, .va = va, .page = page.physical(),
          .prot = trace::protection(prot));
    return {};
}

void pmap::remove(vaddr_t start, vaddr_t end) {
    const uint64_t removed =
        whole_range(start, end, [&](uint64_t va) { return remove_some(md_, va, end.value()); });
    EVENT(pte_removed, .pmap = this, .start = start, .end = end, .entries = removed);
}

uint64_t pmap::protect(vaddr_t start, vaddr_t end, vm_prot prot) {
    const uint64_t changed = whole_range(start, end, [&](uint64_t va) {
        return prot == vm_prot::none ? remove_some(md_, va, end.value())
                                     : protect_some(md_, va, end.value(), prot);
    });
    EVENT(pte_protected, .pmap = this, .start = start, .end = end, .prot = trace::protection(prot),
          .entries = changed);
    return changed;
}

void pmap::wire(vaddr_t va) {
    lock_guard guard(md_.lock);
    pte_t* pte = pmap_find_pte(md_, va.value());
    ASSERT(pte && (pte_load(*pte) & pte_present));
    if (!(pte_atomic(*pte).fetch_or(pte_wired) & pte_wired))
        pmap_add(md_.wired, 1);
}

void pmap::unwire(vaddr_t va) {
    lock_guard guard(md_.lock);
    pte_t* pte = pmap_find_pte(md_, va.value());
    ASSERT(pte && (pte_load(*pte) & pte_present));
    if (pte_atomic(*pte).fetch_and(~pte_wired) & pte_wired)
        pmap_add(md_.wired, -1);
}

std::optional<pmap_mapping> pmap::lookup(vaddr_t va) const {
    lock_guard guard(md_.lock);
    pte_t* pte = pmap_find_pte(md_, va.value());
    pte_t value = pte ? pte_load(*pte) : 0;
    if (!(value & pte_present))
        return std::nullopt;
    return pmap_mapping{.pa = pte_frame(value) + va.page_offset(),
                        .prot = prot_of_pte(value),
                        .wired = (value & pte_wired) != 0,
                        .referenced = (value & pte_accessed) != 0,
                        .modified = (value & pte_dirty) != 0};
}

std::optional<vaddr_t> pmap::first_mapped(vaddr_t start, vaddr_t end) {
    std::optional<vaddr_t> found;
    for (uint64_t va = start.value(); va < end.value() && !found;) {
        long_work::pause();
        lock_guard guard(md_.lock);
        va = walk(
            md_, va, end.value(), [&](pte_t&, uint64_t at) { found = found.value_or(vaddr_t(at)); },
            [](pte_t*, uint64_t) {});
    }
    return found;
}

void pmap::copy(pmap& from, vaddr_t start, vaddr_t end) {
    ASSERT(start.page_aligned() && end.page_aligned() && end <= user_max);
    pmap_machine& source = from.md_;
    pmap_machine& target = md_;
    page_list dead;
    bool memory_left = true;
    uint64_t entries = 0;
    for (uint64_t va = start.value(); va < end.value() && memory_left;) {
        long_work::pause();
        // The source stays locked, so that page_protect() cannot take a page away between the
        // two. A second pmap lock is safe: this pmap is new, so nobody holds its lock and waits
        // for another pmap's.
        lock_guard source_guard(source.lock);
        target.lock.lock_nested();
        va = walk(
            source, va, end.value(),
            [&](pte_t& pte, uint64_t at) NO_THREAD_SAFETY_ANALYSIS {
                if (!memory_left)
                    return;
                pte_t* copied = pmap_make_pte(target, at, dead);
                if (copied && (pte_load(*copied) & pte_present))
                    return;
                const pte_t value =
                    pte_load(pte) & ~(pte_write | pte_wired | pte_accessed | pte_dirty);
                vm_page& page = *vm_page_of(pte_frame(value));
                if (!copied || !pv_insert(page, target, at)) {
                    memory_left = false;
                    if (copied)
                        pmap_prune(target, at, dead);
                    return;
                }
                pmap_entries_changed(copied, 1);
                pmap_count_mapping(target, page, 1);
                pte_atomic(*copied).store(value, std::memory_order_release);
                entries++;
            },
            [](pte_t*, uint64_t) {});
        if (!dead.empty()) {
            tlb::batch flush;
            flush.add(start.value());
            tlb::flush(target, flush);
        }
        target.lock.unlock();
    }
    pmap_free_tables(dead);
    EVENT(pte_copied, .from = &from, .to = this, .start = start, .end = end, .entries = entries);
}

void pmap::activate() { tlb::activate(md_); }

void pmap::barrier() { tlb::barrier(md_); }

uint64_t pmap::resident_pages() const { return md_.resident.load(std::memory_order_relaxed); }
uint64_t pmap::anonymous_pages() const { return md_.anons.load(std::memory_order_relaxed); }
uint64_t pmap::object_pages() const { return md_.objects.load(std::memory_order_relaxed); }
uint64_t pmap::wired_pages() const { return md_.wired.load(std::memory_order_relaxed); }
uint64_t pmap::table_pages() const { return md_.tables.load(std::memory_order_relaxed); }

status pmap::kernel_enter(vaddr_t va, paddr_t pa, vm_prot prot, bool device) {
    ASSERT(va.page_aligned() && pa.page_aligned() && prot != vm_prot::none);
    ASSERT(va.value() >= kernel_mappings_base && va.value() < kernel_mappings_end);
    pmap_machine& m = pmap_kernel_machine();
    pte_t entry = pa.value() | pte_of_prot(prot) | pte_global | pte_accessed | pte_dirty;
    if (device)
        entry |= pte_no_cache | pte_write_through;
    page_list dead;
    bool entered = false;
    {
        lock_guard guard(m.lock);
        if (pte_t* pte = pmap_make_pte(m, va.value(), dead)) {
            ASSERT(!(pte_load(*pte) & pte_present));
            pmap_entries_changed(pte, 1);
            pmap_add(m.resident, 1);
            pte_atomic(*pte).store(entry, std::memory_order_release);
            entered = true;
        } else if (!dead.empty()) {
            tlb::batch flush;
            flush.add(va.value());
            tlb::flush(m, flush);
        }
    }
    pmap_free_tables(dead);
    if (!entered)
        return fail(Errno::nomem);
    return {};
}

void pmap::kernel_remove(std::span<const vaddr_t> starts, size_t size) {
    pmap_machine& m = pmap_kernel_machine();
    page_list dead;
    {
        // Until all have flushed: a processor that still has the way to a table that is gone in its
        // paging-structure cache would not find what somebody enters in its place, and the kernel
        // has no second try.
        lock_guard guard(m.lock);
        tlb::batch flush;
        for (vaddr_t va : starts) {
            ASSERT(va.page_aligned() && (size & page_mask) == 0);
            ASSERT(va.value() >= kernel_mappings_base && va.value() + size <= kernel_mappings_end);
            for (uint64_t at = va.value(); at < va.value() + size; at += page_size) {
                pte_t* pte = pmap_find_pte(m, at);
                ASSERT(pte && (pte_load(*pte) & pte_present));
                pte_atomic(*pte).exchange(0);
                pmap_entries_changed(pte, -1);
                pmap_add(m.resident, -1);
                pmap_prune(m, at, dead);
                flush.add(at);
            }
        }
        tlb::flush(m, flush);
    }
    pmap_free_tables(dead);
}

void pmap::kernel_remove(vaddr_t va, size_t size) { kernel_remove({&va, 1}, size); }

namespace {

struct totals {
    uint64_t resident = 0, wired = 0, tables = 0, anons = 0, objects = 0;
};

// Checks the table at `level` that maps the addresses from `base` on, and those below it.
void check_table(const pmap_machine& m, pte_t* table, unsigned level, uint64_t base, totals& sum)
    REQUIRES(m.lock) {
    sum.tables++;
    unsigned used = 0;
    const size_t count = level == root_level ? first_kernel_slot : table_size;
    for (size_t i = 0; i < count; i++) {
        const pte_t entry = pte_load(table[i]);
        if (!(entry & pte_present))
            continue;
        used++;
        ASSERT(entry & pte_user);
        const uint64_t va = base + i * level_span(level);
        if (level > 1) {
            check_table(m, table_below(entry), level - 1, va, sum);
            continue;
        }
        vm_page* page = vm_page_of(pte_frame(entry));
        ASSERT(page && page->owner_kind != page_owner::free);
        pv_check(*page, m, va);
        sum.resident++;
        sum.wired += (entry & pte_wired) != 0;
        sum.anons += page->owner_kind == page_owner::anon;
        sum.objects += page->owner_kind == page_owner::object;
    }
    ASSERT(used != 0 || level == root_level);
    ASSERT(vm_page_of(direct_map_address(table))->md.table_entries == used);
}

} // namespace

void pmap::check() const {
    const pmap_machine& m = md_;
    ASSERT(!m.is_kernel);
    lock_guard guard(m.lock);
    totals sum;
    check_table(m, m.root, root_level, 0, sum);
    ASSERT(sum.resident == m.resident && sum.wired == m.wired && sum.tables == m.tables);
    ASSERT(sum.anons == m.anons && sum.objects == m.objects);
    const pte_t* kernel_root = pmap_kernel_machine().root;
    for (size_t i = first_kernel_slot; i < table_size; i++)
        ASSERT(m.root[i] == kernel_root[i]);
}

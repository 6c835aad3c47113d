// pmap for x86-64: mappings of one address space.
//
// Every mapping that enter() makes has a pv entry (pmap_pv.cc); kernel_enter()'s have none.
// Page tables are counted and freed when they become empty (pmap_tables.cc). Whoever takes a
// right away collects the addresses in a tlb::batch while it changes the tables, flushes the batch
// with the pmap still locked, and only then lets go of pages and tables (tlb.cc).
//
//      enter                             remove, for a few tables at a time
//      1. the tables above, made         1. clear the entry, then take it out of the page's pv list
//      2. the page's pv list, first:     2. its address into the batch, if a TLB may know it
//         who finds the entry finds it   3. tables that are empty now: unhooked
//      3. the entry; what it replaced    4. flush the batch: nobody has the old translations
//         leaves its list, and is        5. free the tables; let others have the lock
//         flushed                        protect is 1 without the list, 2 and 4
#include "arch/pmap.h"

#include "arch/cpu.h"
#include "lib/assert.h"
#include "lib/long_work.h"
#include "lib/string.h"
#include "vm/phys/event.h"
#include "vm/phys/pool.h"
#include "vm/phys/uvmexp.h"

#include "pmap_cursor.h"

#include <algorithm>
#include <machine/boot.h>
#include <machine/tlb.h>
#include <utility>

namespace {

constinit pool<pmap> pmaps{"pmap"};
constinit pmap kernel_pmap;

// Which entries of the root are the kernel's: a handful of its half, and the same for ever (all that
// every pmap shares is made before the first: paging.cc). So a root costs as much as they are.
class {
public:
    void find(const pte_t* root) {
        for (size_t i = first_kernel_slot; i < table_size; i++)
            if (root[i] != 0)
                slots_[count_++] = static_cast<uint16_t>(i);
    }
    template <class Visit> void each(Visit visit) const {
        for (unsigned i = 0; i < count_; i++)
            visit(size_t{slots_[i]});
    }

private:
    uint16_t slots_[table_size - first_kernel_slot] = {};
    unsigned count_ = 0;
} constinit kernel_slots;

// How many level-1 tables a range operation changes before it lets go of the lock.
constexpr unsigned tables_at_once = 8;

// What one pass over a part of a range has done.
struct progress {
    uint64_t next;     // where the next pass begins
    uint64_t mappings; // that were changed
};

// The account of a mapping whose entry has just been cleared or replaced, but for the table's count.
[[gnu::always_inline]] inline void forget_mapping(pmap_machine& m, vm_page& page, uint64_t va,
                                                  pte_t old) {
    pv_remove(page, m, va, old);
    pmap_count_mapping(m, page, -1);
    if (old & pte_wired)
        pmap_add(m.wired, -1);
}

// Takes all rights from a wired mapping, which stays.
void hide(pte_cursor& at, tlb::batch& flush) {
    const pte_t old = pte_atomic(at.pte()).fetch_and(~(pte_present | pte_write));
    if (pte_needs_flush(old, 0))
        flush.add(at.va());
}

// `hides`: wired mappings stay, without any right.
template <bool hides> progress remove_some(pmap_machine& m, uint64_t va, uint64_t end) {
    unhooked_tables dead;
    lock_guard guard(m.lock);
    tlb::batch flush;
    pv_unflushed unflushed; // ends after the flush
    uint64_t all = 0;
    pte_cursor at(m, va, end);
    for (unsigned tables = 0; tables < tables_at_once && at.find(); tables++) {
        const uint64_t first = at.va();
        const pte_t& table = at.pte();
        const unsigned in_use = pmap_entries_in_use(table);
        unsigned removed = 0, hidden = 0;
        do {
            if (hides && (at.value() & pte_wired)) {
                hide(at, flush);
                hidden++;
                continue;
            }
            removed++;
            const pte_t old = pte_clear(at.pte());
            vm_page& page = *vm_page_of(pte_frame(old));
            if (pte_needs_flush(old, 0)) {
                flush.add(at.va());
                if (tlb::loaded_elsewhere(m)) [[unlikely]]
                    unflushed.note(page);
            }
            forget_mapping(m, page, at.va(), old);
        } while (removed + hidden < in_use && at.next());
        all += removed + hidden;
        pmap_entries_changed(table, -static_cast<int>(removed));
        pmap_prune(m, first, dead);
        if (!dead.empty() && flush.empty())
            flush.add(first); // for the caches of the tables' upper levels
        at.leave_table();
    }
    tlb::flush(m, flush);
    // With nothing resident the rest is a hole.
    return {m.resident == 0 ? end : at.va(), all};
}

// The rights of each page that is mapped in the cursor's table, one by one; returns how many lost
// one.
[[gnu::always_inline]] inline uint64_t lower_pages(pte_cursor& at, vm_prot prot,
                                                   tlb::batch& flush) {
    uint64_t lowered = 0;
    do {
        // Also without the accessed bit: clear_referenced() may just have taken it, and its flush be
        // under way.
        if (pte_lower(at.pte(), prot)) {
            lowered++;
            flush.add(at.va());
        }
    } while (at.next());
    return lowered;
}

progress protect_some(pmap_machine& m, uint64_t va, uint64_t end, vm_prot prot) {
    lock_guard guard(m.lock);
    tlb::batch flush;
    uint64_t lowered = 0;
    pte_cursor at(m, va, end);
    for (unsigned tables = 0; tables < tables_at_once && at.find(); tables++) {
        lowered += lower_pages(at, prot, flush);
        at.leave_table();
    }
    tlb::flush(m, flush);
    return {at.va(), lowered};
}

// A table with fewer pages is not worth the walk through all of its entries at the next write.
constexpr unsigned protected_as_a_whole_from = 64;

// What a fork costs by size: a bit for each table, 2 MiB of memory, and a bit for each page at the
// edges.
progress write_protect_some(pmap_machine& m, uint64_t va, uint64_t end) {
    lock_guard guard(m.lock);
    tlb::batch flush;
    uint64_t lowered = 0, whole = 0;
    pte_cursor at(m, va, end);
    for (unsigned tables = 0; tables < tables_at_once && at.find(); tables++, at.leave_table()) {
        unsigned pages = at.covers_table(va, protected_as_a_whole_from);
        if (pages == 0)
            lowered += lower_pages(at, vm_prot::rx, flush);
        for (; pages != 0; pages = at.next_covered_table(protected_as_a_whole_from)) {
            if (!(pte_take_write(at.table_entry()) & pte_write))
                continue;
            lowered += pages;
            whole++;
        }
    }
    if (whole != 0)
        flush.add_all();
    tlb::flush(m, flush);
    uvm_count(uvm_counter::ptps_protected, whole);
    return {at.va(), lowered};
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
        kernel_slots.find(m.root);
        tlb::join();
    }
    return kernel_pmap;
}

pmap_machine& pmap_machine::of(pmap& p) { return p.md_; }
pmap_machine& pmap_kernel_machine() { return pmap_machine::of(pmap::kernel()); }

pmap* pmap::create() {
    vm_page* root = vm_page_alloc(page_owner::page_table, true);
    if (!root)
        return nullptr;
    pmap* p = pmaps.create();
    if (!p) {
        vm_page_free_zeroed(root);
        return nullptr;
    }
    pmap_machine& m = p->md_;
    m.root = static_cast<pte_t*>(root->data());
    const pte_t* kernel_root = pmap_kernel_machine().root;
    kernel_slots.each([&](size_t slot) { m.root[slot] = kernel_root[slot]; });
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
    kernel_slots.each([&](size_t slot) { md_.root[slot] = 0; });
    vm_page_free_zeroed(vm_page_of(direct_map_address(md_.root)));
    pmaps.destroy(this);
    EVENT(pmap_destroyed, .pmap = this);
}

namespace {

pte_t pte_to_enter(const vm_page& page, vm_prot prot, pmap_enter_flags flags) {
    pte_t entry = page.physical().value() | pte_user | pte_of_prot(prot);
    if (flags.wired)
        entry = (entry | pte_wired) & ~(prot == vm_prot::none ? pte_present : 0);
    if (flags.access != vm_prot::none)
        entry |= pte_accessed;
    if (allows(flags.access, vm_prot::write))
        entry |= pte_dirty;
    return entry;
}

// What is mapped where the cursor stands.
std::optional<pmap_mapping> mapping_at(const pte_cursor& at) {
    pte_t value = at.value();
    if (!(value & pte_in_use))
        return std::nullopt;
    if (!at.table_writable())
        value &= ~pte_write;
    return pmap_mapping{.pa = pte_frame(value),
                        .prot = prot_of_pte(value),
                        .wired = (value & pte_wired) != 0,
                        .referenced = (value & pte_accessed) != 0,
                        .modified = (value & pte_dirty) != 0};
}

// New rights for a page that is there. The processors may set its bits meanwhile.
void change_rights(pmap_machine& m, const pte_cursor& at, pte_t entry, tlb::batch& flush)
    REQUIRES(m.lock) {
    pte_t old = at.value(), changed;
    do
        changed = entry | (old & (pte_accessed | pte_dirty));
    while (!pte_compare_exchange(at.pte(), old, changed));
    if ((entry ^ old) & pte_wired) [[unlikely]]
        pmap_add(m.wired, entry & pte_wired ? 1 : -1);
    if (pte_needs_flush(old, changed) || (old & ~changed & pte_write)) // as lower_pages()
        flush.add(at.va());
    else if (tlb::loaded_here(m))
        tlb::invalidate_here(at.va()); // spares this CPU a spurious fault
}

// Where there was no memory for an entry, tables for it may have been made: they go again. Out of
// line, so that the usual way makes no list of them.
[[gnu::noinline, gnu::cold]] void prune_unused(pmap_machine& m, uint64_t va) REQUIRES(m.lock) {
    unhooked_tables dead;
    pmap_prune_and_flush(m, va, dead);
}

// The page, which is on its pv list by now, in place of what is there.
void replace(pmap_machine& m, const pte_cursor& at, vm_page& page, pte_t entry, tlb::batch& flush)
    REQUIRES(m.lock) {
    if (at.mapped()) {
        const pte_t old = pte_clear(at.pte());
        forget_mapping(m, *vm_page_of(pte_frame(old)), at.va(), old);
        if (pte_needs_flush(old, 0))
            flush.add(at.va());
    } else {
        pmap_entries_changed(at.pte(), 1);
    }
    pmap_count_mapping(m, page, 1);
    if (entry & pte_wired) [[unlikely]]
        pmap_add(m.wired, 1);
    pte_atomic(at.pte()).store(entry, std::memory_order_release);
}

} // namespace

status pmap::enter(vaddr_t va, vm_page& page, vm_prot prot, pmap_enter_flags flags,
                   std::optional<pmap_mapping>* before) {
    CHECK_ASSERT(va.page_aligned() && va < user_max && !md_.is_kernel);
    CHECK_ASSERT(prot != vm_prot::none || flags.wired);
    const pte_t entry = pte_to_enter(page, prot, flags);
    pmap_machine& m = md_;
    tlb::batch flush;
    {
        lock_guard guard(m.lock);
        pte_cursor at(m, va.value());
        const bool have_table = at.make_tables(m);
        if (flags.if_absent && at.mapped())
            return fail(Errno::exist);
        if (before)
            *before = mapping_at(at);
        const bool to_write = (entry & pte_write) && (entry & (pte_dirty | pte_wired));
        if (to_write && have_table && !at.table_writable()) [[unlikely]]
            return fail(Errno::again);
        if (have_table && pte_maps(at.value(), pte_frame(entry))) {
            change_rights(m, at, entry, flush);
        } else if (have_table && pv_insert(page, m, va.value())) {
            replace(m, at, page, entry, flush); // it cannot fail
        } else {
            prune_unused(m, va.value());
            return fail(Errno::nomem);
        }
        if (!flush.empty())
            tlb::flush(m, flush);
    }
    EVENT(pte_entered, .pmap = this, .va = va, .page = page.physical(),
          .prot = trace::protection(prot));
    return {};
}

void pmap::remove(vaddr_t start, vaddr_t end) {
    const uint64_t removed = whole_range(
        start, end, [&](uint64_t va) { return remove_some<false>(md_, va, end.value()); });
    EVENT(pte_removed, .pmap = this, .start = start, .end = end, .entries = removed);
}

uint64_t pmap::protect(vaddr_t start, vaddr_t end, vm_prot prot) {
    const uint64_t changed = whole_range(start, end, [&](uint64_t va) {
        return prot == vm_prot::none ? remove_some<true>(md_, va, end.value())
                                     : protect_some(md_, va, end.value(), prot);
    });
    EVENT(pte_protected, .pmap = this, .start = start, .end = end, .prot = trace::protection(prot),
          .entries = changed);
    return changed;
}

uint64_t pmap::write_protect(vaddr_t start, vaddr_t end) {
    const uint64_t changed = whole_range(
        start, end, [&](uint64_t va) { return write_protect_some(md_, va, end.value()); });
    EVENT(pte_protected, .pmap = this, .start = start, .end = end, .prot = trace::protection::rx,
          .entries = changed);
    return changed;
}

// First the pages, then the table: in between a processor that walks finds too few rights, never
// too many. It needs no flush for that: nobody's TLB allows a write here.
void pmap::unprotect_table(vaddr_t va, const pmap_table_pages& keep) {
    pmap_machine& m = md_;
    lock_guard guard(m.lock);
    const pte_cursor at(m, va.value());
    if (at.in_hole() || at.table_writable())
        return;
    pte_t* pte = table_below(pte_load(at.table_entry()));
    for (uint64_t word : keep.words)
        for (size_t i = 0; i < 64; i++, pte++, word >>= 1)
            if (!(word & 1) && (pte_load(*pte) & pte_write))
                pte_take_write(*pte);
    pte_atomic(at.table_entry()).fetch_or(pte_write, std::memory_order_release);
    tlb::refresh_here(m); // spares this CPU a spurious fault for each page that it has read
    EVENT(table_unprotected, .pmap = this, .va = va, .pages = keep.count());
}

void pmap::wire(vaddr_t va) {
    lock_guard guard(md_.lock);
    const pte_cursor at(md_, va.value());
    ASSERT(at.mapped());
    if (!(pte_atomic(at.pte()).fetch_or(pte_wired) & pte_wired))
        pmap_add(md_.wired, 1);
}

void pmap::unwire(vaddr_t va) {
    lock_guard guard(md_.lock);
    const pte_cursor at(md_, va.value());
    ASSERT(at.value() & pte_present);
    if (pte_atomic(at.pte()).fetch_and(~pte_wired) & pte_wired)
        pmap_add(md_.wired, -1);
}

std::optional<pmap_mapping> pmap::lookup(vaddr_t va) const {
    lock_guard guard(md_.lock);
    auto found = mapping_at(pte_cursor(md_, va.value()));
    if (found)
        found->pa = found->pa + va.page_offset();
    return found;
}

// No table is empty, so that this comes to a page soon or passes over holes.
std::optional<vaddr_t> pmap::first_mapped(vaddr_t start, vaddr_t end) {
    lock_guard guard(md_.lock);
    pte_cursor at(md_, start.value(), end.value());
    if (!at.find())
        return std::nullopt;
    return vaddr_t(at.va());
}

namespace {

// What one table maps, write-protected, for another pmap; adds up how many mappings it made. False when
// out of memory. The table that is filled is looked for once.
bool copy_table(pte_cursor& at, pmap_machine& target, uint64_t& made, unhooked_tables& dead)
    REQUIRES(target.lock) {
    constexpr pte_t left_out = pte_write | pte_wired | pte_accessed | pte_dirty;
    const uint64_t first = at.va();
    pte_cursor to(target, first);
    bool memory = to.make_tables(target);
    pte_t* const table = memory ? &to.pte() - table_index(first, 1) : nullptr;
    int entered = 0;
    if (memory) {
        do {
            pte_t& pte = table[table_index(at.va(), 1)];
            if (!(at.value() & pte_present) || (pte_load(pte) & pte_in_use))
                continue;
            vm_page& page = *vm_page_of(pte_frame(at.value()));
            if (!(memory = pv_insert(page, target, at.va())))
                break;
            pmap_count_mapping(target, page, 1);
            pte_atomic(pte).store(at.value() & ~left_out, std::memory_order_release);
            entered++;
        } while (at.next());
        pmap_entries_changed(*table, entered);
    }
    if (!memory || entered == 0) // the table may be empty
        pmap_prune_and_flush(target, first, dead);
    made += unsigned(entered);
    return memory;
}

// The mappings of a part of a range. Ends early when there is no memory left.
progress copy_some(pmap_machine& source, pmap_machine& target, uint64_t va, uint64_t end) {
    unhooked_tables dead;
    // The source stays locked, so that page_protect() cannot take a page away between the two. A
    // second pmap lock is safe: the target is new, so nobody holds its lock and waits for another
    // pmap's.
    lock_guard source_guard(source.lock);
    lock_guard target_guard(target.lock, nested_lock());
    uint64_t entries = 0;
    pte_cursor at(source, va, end);
    for (unsigned tables = 0; tables < tables_at_once && at.find(); tables++) {
        if (!copy_table(at, target, entries, dead))
            return {end, entries};
        at.leave_table();
    }
    return {at.va(), entries};
}

} // namespace

void pmap::copy(pmap& from, vaddr_t start, vaddr_t end) {
    const uint64_t entries = whole_range(
        start, end, [&](uint64_t va) { return copy_some(from.md_, md_, va, end.value()); });
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
    unhooked_tables dead;
    lock_guard guard(m.lock);
    pte_cursor at(m, va.value());
    if (!at.make_tables(m)) {
        pmap_prune_and_flush(m, va.value(), dead);
        return fail(Errno::nomem);
    }
    ASSERT(!at.mapped());
    pmap_entries_changed(at.pte(), 1);
    pmap_add(m.resident, 1);
    pte_atomic(at.pte()).store(entry, std::memory_order_release);
    return {};
}

void pmap::kernel_remove(std::span<const vaddr_t> starts, size_t size) {
    pmap_machine& m = pmap_kernel_machine();
    unhooked_tables dead;
    // Until all have flushed: a processor that still has the way to a table that is gone in its
    // paging-structure cache would not find what somebody enters in its place, and the kernel has no
    // second try.
    lock_guard guard(m.lock);
    tlb::batch flush;
    for (vaddr_t start : starts) {
        ASSERT(start.page_aligned() && (size & page_mask) == 0);
        ASSERT(start.value() >= kernel_mappings_base &&
               start.value() + size <= kernel_mappings_end);
        for (uint64_t va = start.value(); va < start.value() + size; va += page_size) {
            const pte_cursor at(m, va);
            ASSERT(at.mapped());
            pte_clear(at.pte());
            pmap_entries_changed(at.pte(), -1);
            pmap_add(m.resident, -1);
            pmap_prune(m, va, dead);
            flush.add(va);
        }
    }
    tlb::flush(m, flush);
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
        if (!(entry & pte_in_use))
            continue;
        used++;
        ASSERT(entry & pte_user);
        ASSERT(level <= 2 || (entry & pte_write));
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

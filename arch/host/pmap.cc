// pmap for the simulated machine. Every change is made under host_bus and flushes what it takes
// away before it lets go. There are no kernel mappings on this machine: pmap::kernel(),
// kernel_enter() and kernel_remove() are not defined, and what calls them does not link.
#include "arch/pmap.h"

#include "lib/assert.h"
#include "vm/phys/event.h"
#include "vm/phys/pool.h"
#include "vm/phys/uvmexp.h"

#include "pmap_tables.h"
#include "tlb.h"

#include <algorithm>
#include <utility>

namespace {

constinit pool<pmap> pmaps{"pmap"};
constinit std::atomic<uint64_t> all_table_pages{0};

pte_t* entries_of(const vm_page* table) { return static_cast<pte_t*>(table->data()); }
pte_t& pte_in(const vm_page* table, uint64_t va) {
    return entries_of(table)[(va >> page_shift) % table_size];
}

void count_tables(pmap_machine& m, int by) {
    uvm_count(by > 0 ? uvm_counter::ptps_made : uvm_counter::ptps_freed);
    m.table_pages += static_cast<uint64_t>(int64_t{by});
    all_table_pages += static_cast<uint64_t>(int64_t{by});
}

// The entry of `va`; makes the region's table. Null when there is no memory.
pte_t* make_pte(pmap_machine& m, uint64_t va) REQUIRES(host_bus) {
    if (pte_t* pte = pmap_find_pte(m, va))
        return pte;
    vm_page* table = vm_page_alloc(page_owner::page_table, true);
    if (!table)
        return nullptr;
    table->md.table_protected = false;
    m.tables.emplace(va >> region_shift, table);
    count_tables(m, 1);
    return &pte_in(table, va);
}

void count_mapping(pmap_machine& m, const vm_page& page, int by) {
    const auto more = static_cast<uint64_t>(int64_t{by});
    m.resident += more;
    if (page.owner_kind == page_owner::anon)
        m.anons += more;
    else if (page.owner_kind == page_owner::object)
        m.objects += more;
}

// Fills an empty entry. False when there is no memory for the pv entry.
bool fill_pte(pmap_machine& m, uint64_t va, pte_t& pte, pte_t value) REQUIRES(host_bus) {
    ASSERT(!pte_in_use(pte));
    if (!pv_insert(*vm_page_of(pte_frame(value)), m, va))
        return false;
    pte = value;
    m.tables.at(va >> region_shift)->md.table_entries++;
    count_mapping(m, *vm_page_of(pte_frame(value)), 1);
    m.wired += (value & pte_wired) != 0;
    return true;
}

// Calls visit(va, pte) for each mapping in [start, end), and prunes the tables.
template <class Visit>
void walk(pmap_machine& m, uint64_t start, uint64_t end, Visit visit) REQUIRES(host_bus) {
    for (auto at = m.tables.lower_bound(start >> region_shift); at != m.tables.end();) {
        const uint64_t base = at->first << region_shift;
        if (base >= end)
            break;
        vm_page* table = at->second;
        ++at; // pruning takes the table out
        const uint64_t last = std::min(end, base + region_size);
        for (uint64_t va = std::max(start, base); va < last; va += page_size)
            if (pte_t& pte = pte_in(table, va); pte_in_use(pte))
                visit(va, pte);
        pmap_prune(m, base);
    }
}

void assert_user_range(vaddr_t start, vaddr_t end) {
    ASSERT(start.page_aligned() && end.page_aligned() && start <= end && end <= user_max);
}

} // namespace

pmap_machine& pmap_machine::of(pmap& p) { return p.md_; }

pte_t* pmap_find_pte(const pmap_machine& m, uint64_t va) {
    auto table = m.tables.find(va >> region_shift);
    return table == m.tables.end() ? nullptr : &pte_in(table->second, va);
}

pte_t pmap_granted(const pmap_machine& m, uint64_t va, pte_t entry) {
    return m.tables.at(va >> region_shift)->md.table_protected ? pte_lowered(entry, vm_prot::rx)
                                                               : entry;
}

void pmap_remove_pte(pmap_machine& m, uint64_t va, pte_t& pte) {
    const pte_t old = pte;
    ASSERT(pte_in_use(old));
    pte = 0;
    m.tables.at(va >> region_shift)->md.table_entries--;
    count_mapping(m, *vm_page_of(pte_frame(old)), -1);
    m.wired -= (old & pte_wired) != 0;
    pv_remove(*vm_page_of(pte_frame(old)), m, va, old);
    tlb::flush(m, va);
}

void pmap_lower_pte(pmap_machine& m, uint64_t va, pte_t& pte, vm_prot prot) {
    const pte_t before = pte;
    pte = pte_lowered(before, prot);
    if (pte_needs_flush(before, pte))
        tlb::flush(m, va);
}

void pmap_prune(pmap_machine& m, uint64_t va) {
    auto at = m.tables.find(va >> region_shift);
    if (at == m.tables.end() || at->second->md.table_entries != 0)
        return;
    vm_page_free(at->second);
    m.tables.erase(at);
    count_tables(m, -1);
}

pmap* pmap::create() {
    vm_page* root = vm_page_alloc(page_owner::page_table);
    if (!root)
        return nullptr;
    pmap* p = pmaps.create();
    if (!p) {
        vm_page_free(root);
        return nullptr;
    }
    p->md_.root = root;
    count_tables(p->md_, 1);
    EVENT(pmap_created, .pmap = p);
    return p;
}

void pmap::destroy() {
    remove(vaddr_t(0), user_max);
    {
        lock_guard guard(host_bus);
        ASSERT(md_.tables.empty() && md_.resident == 0 && md_.wired == 0 && md_.table_pages == 1);
        ASSERT(tlb::unknown(md_));
        count_tables(md_, -1);
    }
    vm_page_free(md_.root);
    pmaps.destroy(this);
    EVENT(pmap_destroyed, .pmap = this);
}

// What the entry for `va` says.
static std::optional<pmap_mapping> mapping_at(const pmap_machine& m, uint64_t va, pte_t pte)
    REQUIRES(host_bus) {
    if (!pte_in_use(pte))
        return std::nullopt;
    return pmap_mapping{.pa = pte_frame(pte),
                        .prot = pte_prot(pmap_granted(m, va, pte)),
                        .wired = (pte & pte_wired) != 0,
                        .referenced = (pte & pte_accessed) != 0,
                        .modified = (pte & pte_dirty) != 0};
}

status pmap::enter(vaddr_t va, vm_page& page, vm_prot prot, pmap_enter_flags flags,
                   std::optional<pmap_mapping>* before) {
    ASSERT(va.page_aligned() && va < user_max && (prot != vm_prot::none || flags.wired));
    ASSERT(page.owner_kind != page_owner::free && page.owner_kind != page_owner::page_table);
    ASSERT(!page.busy); // the disk's
    pte_t entry = page.physical().value() | (prot == vm_prot::none ? 0 : pte_of_prot(prot));
    if (flags.wired)
        entry |= pte_wired;
    if (flags.access != vm_prot::none)
        entry |= pte_accessed;
    if (allows(flags.access, vm_prot::write))
        entry |= pte_dirty;

    lock_guard guard(host_bus);
    pmap_machine& m = md_;
    pte_t* pte = make_pte(m, va.value());
    if (!pte)
        return fail(Errno::nomem);
    auto tell = [&] {
        EVENT(pte_entered, .pmap = this, .va = va, .page = page.physical(),
              .prot = trace::protection(prot));
    };
    const pte_t old = *pte;
    if (flags.if_absent && pte_in_use(old))
        return fail(Errno::exist);
    if (before)
        *before = mapping_at(m, va.value(), old);
    const bool to_write = allows(flags.access, vm_prot::write) || flags.wired;
    if (to_write && pmap_granted(m, va.value(), entry) != entry)
        return fail(Errno::again);
    if (pte_in_use(old) && pte_frame(old) == page.physical()) {
        *pte = entry | (old & (pte_accessed | pte_dirty));
        m.wired += uint64_t{(entry & pte_wired) != 0} - uint64_t{(old & pte_wired) != 0};
        if (pte_needs_flush(old, *pte))
            tlb::flush(m, va.value());
        else
            tlb::flush_here(m, va.value()); // other CPUs learn of new rights by spurious faults
        tell();
        return {};
    }
    if (!pte_in_use(old)) {
        if (fill_pte(m, va.value(), *pte, entry)) {
            tell();
            return {};
        }
        pmap_prune(m, va.value());
        return fail(Errno::nomem);
    }
    // Another page is there. What can fail comes first.
    if (!pv_insert(page, m, va.value()))
        return fail(Errno::nomem);
    *pte = entry;
    pv_remove(*vm_page_of(pte_frame(old)), m, va.value(), old);
    m.wired += uint64_t{(entry & pte_wired) != 0} - uint64_t{(old & pte_wired) != 0};
    tlb::flush(m, va.value());
    tell();
    return {};
}

void pmap::remove(vaddr_t start, vaddr_t end) {
    assert_user_range(start, end);
    lock_guard guard(host_bus);
    uint64_t removed = 0;
    walk(md_, start.value(), end.value(), [&](uint64_t va, pte_t& pte) REQUIRES(host_bus) {
        pmap_remove_pte(md_, va, pte);
        removed++;
    });
    EVENT(pte_removed, .pmap = this, .start = start, .end = end, .entries = removed);
}

uint64_t pmap::protect(vaddr_t start, vaddr_t end, vm_prot prot) {
    assert_user_range(start, end);
    lock_guard guard(host_bus);
    uint64_t lowered = 0;
    walk(md_, start.value(), end.value(), [&](uint64_t va, pte_t& pte) REQUIRES(host_bus) {
        lowered += pte_lowered(pte, prot) != pte;
        if (prot == vm_prot::none && (pte & pte_wired)) {
            pte &= ~pte_rights;
            tlb::flush(md_, va);
        } else if (prot == vm_prot::none)
            pmap_remove_pte(md_, va, pte);
        else
            pmap_lower_pte(md_, va, pte, prot);
    });
    EVENT(pte_protected, .pmap = this, .start = start, .end = end, .prot = trace::protection(prot),
          .entries = lowered);
    return lowered;
}

// Whole tables first, as on x86-64, however few pages they map.
uint64_t pmap::write_protect(vaddr_t start, vaddr_t end) {
    assert_user_range(start, end);
    lock_guard guard(host_bus);
    auto whole = [&](uint64_t va) {
        const uint64_t base = va & ~(region_size - 1);
        return base >= start.value() && base + region_size <= end.value();
    };
    uint64_t lowered = 0;
    walk(md_, start.value(), end.value(), [&](uint64_t va, pte_t& pte) REQUIRES(host_bus) {
        lowered += allows(pte_prot(pmap_granted(md_, va, pte)), vm_prot::write);
        if (whole(va))
            tlb::flush(md_, va);
        else
            pmap_lower_pte(md_, va, pte, vm_prot::rx);
    });
    for (auto& [region, table] : md_.tables) {
        const uint64_t base = region << region_shift;
        if (whole(base) && !std::exchange(table->md.table_protected, true))
            uvm_count(uvm_counter::ptps_protected);
    }
    EVENT(pte_protected, .pmap = this, .start = start, .end = end, .prot = trace::protection::rx,
          .entries = lowered);
    return lowered;
}

void pmap::unprotect_table(vaddr_t va, const pmap_table_pages& keep) {
    lock_guard guard(host_bus);
    auto table = md_.tables.find(va.value() >> region_shift);
    if (table == md_.tables.end() || !table->second->md.table_protected)
        return;
    const vaddr_t base(table->first << region_shift);
    for (size_t i = 0; i < table_size; i++)
        if (pte_t& pte = entries_of(table->second)[i]; !keep.has(base + i * page_size))
            pte = pte_lowered(pte, vm_prot::rx);
    table->second->md.table_protected = false;
    EVENT(table_unprotected, .pmap = this, .va = va, .pages = keep.count());
}

void pmap::wire(vaddr_t va) {
    lock_guard guard(host_bus);
    pte_t* pte = pmap_find_pte(md_, va.value());
    ASSERT(pte && pte_in_use(*pte));
    md_.wired += (*pte & pte_wired) == 0;
    *pte |= pte_wired;
}

void pmap::unwire(vaddr_t va) {
    lock_guard guard(host_bus);
    pte_t* pte = pmap_find_pte(md_, va.value());
    ASSERT(pte && (*pte & pte_rights));
    md_.wired -= (*pte & pte_wired) != 0;
    *pte &= ~pte_wired;
}

std::optional<pmap_mapping> pmap::lookup(vaddr_t va) const {
    lock_guard guard(host_bus);
    const pte_t* pte = pmap_find_pte(md_, va.value());
    auto found = mapping_at(md_, va.value(), pte ? *pte : 0);
    if (found)
        found->pa = found->pa + va.page_offset();
    return found;
}

std::optional<vaddr_t> pmap::first_mapped(vaddr_t start, vaddr_t end) {
    lock_guard guard(host_bus);
    std::optional<vaddr_t> found;
    walk(md_, start.value(), end.value(),
         [&](uint64_t va, pte_t&) { found = found.value_or(vaddr_t(va)); });
    return found;
}

void pmap::copy(pmap& from, vaddr_t start, vaddr_t end) {
    assert_user_range(start, end);
    lock_guard guard(host_bus);
    bool memory_left = true;
    uint64_t entries = 0;
    walk(from.md_, start.value(), end.value(), [&](uint64_t va, pte_t& pte) REQUIRES(host_bus) {
        if (!(pte & pte_rights)) // wired, and so kept
            return;
        pte_t* copied = memory_left ? make_pte(md_, va) : nullptr;
        if (copied && pte_in_use(*copied))
            return;
        const pte_t flags = pte_wired | pte_accessed | pte_dirty | pte_t(vm_prot::write);
        memory_left = copied && fill_pte(md_, va, *copied, pte & ~flags);
        entries += memory_left;
        pmap_prune(md_, va);
    });
    EVENT(pte_copied, .from = &from, .to = this, .start = start, .end = end, .entries = entries);
}

void pmap::for_each_entry(vaddr_t start, vaddr_t end,
                          void (*visit)(void* context, const pmap_table_entry& entry),
                          void* context) const NO_THREAD_SAFETY_ANALYSIS {
    visit(context, {.level = 3, .va = vaddr_t(), .pa = md_.root->physical()});
    for (const auto& [region, table] : md_.tables) {
        const uint64_t base = region << region_shift;
        if (base >= end.value() || base + region_size <= start.value())
            continue;
        visit(context, {.level = 2,
                        .va = vaddr_t(base),
                        .pa = table->physical(),
                        .present = true,
                        .write = !table->md.table_protected,
                        .execute = true,
                        .user = true,
                        .accessed = true,
                        .dirty = false,
                        .wired = false,
                        .write_above = true});
        for (size_t i = 0; i < table_size; i++) {
            const uint64_t va = base + (i << page_shift);
            const pte_t e = entries_of(table)[i];
            if (!pte_in_use(e) || va < start.value() || va >= end.value())
                continue;
            visit(context, {.level = 1,
                            .va = vaddr_t(va),
                            .pa = pte_frame(e),
                            .present = true,
                            .write = allows(pte_prot(e), vm_prot::write),
                            .execute = allows(pte_prot(e), vm_prot::execute),
                            .user = true,
                            .accessed = (e & pte_accessed) != 0,
                            .dirty = (e & pte_dirty) != 0,
                            .wired = (e & pte_wired) != 0,
                            .write_above = !table->md.table_protected});
        }
    }
}

// A TLB entry is found by the pmap that it belongs to, so there is nothing to load.
void pmap::activate() {}

uint64_t pmap::resident_pages() const { return md_.resident.load(std::memory_order_relaxed); }
uint64_t pmap::anonymous_pages() const { return md_.anons.load(std::memory_order_relaxed); }
uint64_t pmap::object_pages() const { return md_.objects.load(std::memory_order_relaxed); }
uint64_t pmap::wired_pages() const { return md_.wired.load(std::memory_order_relaxed); }
uint64_t pmap::table_pages() const { return md_.table_pages.load(std::memory_order_relaxed); }
uint64_t pmap_table_pages_in_use() { return all_table_pages.load(std::memory_order_relaxed); }

void pmap::check() const {
    lock_guard guard(host_bus);
    uint64_t resident = 0, wired = 0;
    for (const auto& [region, table] : md_.tables) {
        ASSERT(table->owner_kind == page_owner::page_table);
        unsigned used = 0;
        for (size_t i = 0; i < table_size; i++) {
            const uint64_t va = (region << region_shift) + (i << page_shift);
            const pte_t entry = entries_of(table)[i];
            if (!pte_in_use(entry))
                continue;
            used++;
            wired += (entry & pte_wired) != 0;
            vm_page* page = vm_page_of(pte_frame(entry));
            ASSERT(page && page->owner_kind != page_owner::free);
            pv_check(*page, md_, va);
        }
        ASSERT(used != 0 && used == table->md.table_entries);
        resident += used;
    }
    ASSERT(resident == md_.resident && wired == md_.wired);
    ASSERT(md_.table_pages == md_.tables.size() + 1);
}

// Counting and freeing page tables.
//
// The vm_page of a table counts its entries in use, so that a table is unhooked the moment its
// last entry goes. Tables made at boot have no vm_page and stay for ever.
#include "pmap_tables.h"

#include "arch/pmap.h"
#include "vm/phys/event.h"
#include "vm/phys/uvmexp.h"

#include <machine/tlb.h>

namespace {

constinit std::atomic<uint64_t> user_tables{0};

// The vm_page of the table that holds `entry`, or null for a table made at boot.
vm_page* page_of_table(const pte_t* entry) {
    return vm_page_of(
        paddr_t(page_round_down(reinterpret_cast<uint64_t>(entry)) - direct_map_base));
}

// The kernel's third-level tables are in every pmap's root: they stay.
constexpr unsigned highest_freed_level(const pmap_machine& m) { return m.is_kernel ? 2 : 3; }

} // namespace

void pmap_count_table(pmap_machine& m, int by) {
    pmap_add(m.tables, by);
    if (by > 0)
        uvm_count(uvm_counter::ptps_made);
    else
        uvm_count(uvm_counter::ptps_freed);
    if (!m.is_kernel)
        user_tables.fetch_add(static_cast<uint64_t>(int64_t{by}), std::memory_order_relaxed);
}

uint64_t pmap_table_pages_in_use() { return user_tables.load(std::memory_order_relaxed); }

unsigned pmap_entries_in_use(const pte_t& pte) { return page_of_table(&pte)->md.table_entries; }

void pmap_entries_changed(const pte_t& pte, int by) {
    if (vm_page* page = page_of_table(&pte)) {
        page->md.table_entries = static_cast<uint16_t>(page->md.table_entries + by);
        CHECK_ASSERT(page->md.table_entries <= table_size);
    }
}

void pmap_prune(pmap_machine& m, uint64_t va, unhooked_tables& dead) {
    pte_t* entries[root_level + 1]; // [l]: the entry for va in the table at level l
    pte_t* table = m.root;
    unsigned lowest = root_level;
    for (;; lowest--) {
        entries[lowest] = &table[table_index(va, lowest)];
        if (lowest == 1 || !(*entries[lowest] & pte_present))
            break;
        table = table_below(*entries[lowest]);
    }
    for (unsigned level = lowest; level <= highest_freed_level(m); level++) {
        vm_page* page = page_of_table(entries[level]);
        if (!page || page->md.table_entries != 0)
            return;
        pte_atomic(*entries[level + 1]).store(0, std::memory_order_relaxed);
        pmap_entries_changed(*entries[level + 1], -1);
        pmap_count_table(m, -1);
        dead.add(*page);
        EVENT(page_table_freed, .root = m.root, .level = level, .va = va, .page = page->physical());
    }
}

void pmap_prune_and_flush(pmap_machine& m, uint64_t va, unhooked_tables& dead) {
    pmap_prune(m, va, dead);
    if (dead.empty())
        return;
    tlb::batch flush;
    flush.add(va);
    tlb::flush(m, flush);
}

unhooked_tables::~unhooked_tables() {
    while (vm_page* page = tables_.pop_front())
        vm_page_free_zeroed(page); // an entry that goes becomes 0
}

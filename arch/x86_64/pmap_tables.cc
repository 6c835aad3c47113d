// Walking, making and freeing page tables.
//
// The vm_page of a table counts its entries in use, so that a table is unhooked the moment its
// last entry goes. Tables made at boot have no vm_page and stay for ever.
#include "pmap_tables.h"

#include "arch/pmap.h"
#include "vm/phys/event.h"
#include "vm/phys/uvmexp.h"

namespace {

constinit std::atomic<uint64_t> user_tables{0};

// The vm_page of the table that holds `entry`, or null for a table made at boot.
vm_page* page_of_table(const pte_t* entry) {
    return vm_page_of(
        paddr_t(page_round_down(reinterpret_cast<uint64_t>(entry)) - direct_map_base));
}

void count_entries(const pte_t* entry, int by) {
    if (vm_page* page = page_of_table(entry)) {
        page->md.table_entries = static_cast<uint16_t>(page->md.table_entries + by);
        CHECK_ASSERT(page->md.table_entries <= table_size);
    }
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

pte_t* pmap_find_table(const pmap_machine& m, uint64_t va, table_hole& hole) {
    pte_t* table = m.root;
    for (unsigned level = root_level; level > 1; level--) {
        pte_t entry = pte_load(table[table_index(va, level)]);
        if (!(entry & pte_present)) {
            hole = {&table[table_index(va, level)], level};
            return nullptr;
        }
        CHECK_ASSERT(!(entry & pte_large));
        table = table_below(entry);
    }
    return table;
}

pte_t* pmap_find_pte(const pmap_machine& m, uint64_t va) {
    table_hole hole;
    pte_t* table = pmap_find_table(m, va, hole);
    return table ? &table[table_index(va, 1)] : nullptr;
}

pte_t* pmap_make_pte(pmap_machine& m, uint64_t va, page_list& dead) {
    // A user table's upper entries grant everything: the lowest level decides.
    const pte_t bits = pte_present | pte_write | pte_accessed | (m.is_kernel ? 0 : pte_user);
    pte_t* table = m.root;
    for (unsigned level = root_level; level > 1; level--) {
        pte_t& entry = table[table_index(va, level)];
        if (!(entry & pte_present)) [[unlikely]] {
            vm_page* page =
                vm_page_alloc(m.is_kernel ? page_owner::kernel : page_owner::page_table, true);
            if (!page) {
                pmap_prune(m, va, dead);
                return nullptr;
            }
            pmap_count_table(m, 1);
            count_entries(&entry, 1);
            pte_atomic(entry).store(page->physical().value() | bits, std::memory_order_release);
            EVENT(page_table_made, .root = m.root, .level = level - 1, .va = va,
                  .page = page->physical());
        }
        CHECK_ASSERT(!(entry & pte_large));
        table = table_below(entry);
    }
    return &table[table_index(va, 1)];
}

void pmap_entries_changed(pte_t* pte, int by) { count_entries(pte, by); }

void pmap_prune(pmap_machine& m, uint64_t va, page_list& dead) {
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
        count_entries(entries[level + 1], -1);
        pmap_count_table(m, -1);
        dead.push_back(*page);
        EVENT(page_table_freed, .root = m.root, .level = level, .va = va, .page = page->physical());
    }
}

void pmap_free_tables(page_list& dead) {
    while (vm_page* page = dead.pop_front())
        vm_page_free_zeroed(page); // an entry that goes becomes 0
}

// The machine's data members of pmap and vm_page, for x86-64's four-level page tables.
// The code is in arch/x86_64/pmap*.cc; what it shares among its files is in pmap_tables.h.
#pragma once

#include "lib/avl_tree.h"
#include "lib/lock.h"
#include "lib/types.h"

#include <atomic>
#include <cstdint>

// Of a table of any level.
inline constexpr size_t pmap_table_entries = 512;

struct pmap_machine;

// pv ("physical to virtual") entry: one mapping of a page. Guarded by the page's pv lock.
struct pv_entry {
    pmap_machine* owner = nullptr; // null only in page_machine::first: the page is not mapped
    uint64_t va = 0;
};

// One more than a page's first.
struct pv_further {
    pv_entry at;
    avl_node of_page;
};

struct page_machine {
    pv_entry first; // the usual page has one mapping at most
    // From a pool, by owner and address: of ten thousand processes that have one page, each must
    // find its own when it ends.
    avl_tree<pv_further, &pv_further::of_page> further;
    // What mappings that are gone have seen. Those that exist tell by their PTEs.
    bool referenced = false;
    bool modified = false;
    // page_owner::page_table: how many of its 512 entries are in use. Guarded by the lock of the
    // pmap that it belongs to.
    uint16_t table_entries = 0;

    bool mapped() const { return first.owner != nullptr; }
    // The same, by one who has not the list's lock.
    bool seen_mapped() const { return __atomic_load_n(&first.owner, __ATOMIC_ACQUIRE) != nullptr; }
};

class pmap;

struct pmap_machine {
    static pmap_machine& of(pmap& p);

    mutable spin_lock lock{lock_rank::pmap, "pmap"}; // guards the page tables
    uint64_t* root = nullptr;                        // the PML4, in the direct map
    bool is_kernel = false;
    // The CPUs that may hold translations of this pmap in their TLBs; see tlb.cc for the order
    // in which activate() changes it. Not kept for the kernel's, which is everywhere.
    std::atomic<uint32_t> loaded_on{0};
    // Statistics: written under lock, read without.
    std::atomic<uint64_t> resident{0}, wired{0}, tables{0};
    std::atomic<uint64_t> anons{0}, objects{0}; // of `resident`, by the owner of the page
};

// Page-table entries of the simulated machine, shared by its pmap, pv lists and page walks.
#pragma once

#include "arch/pmap.h"
#include "vm/phys/vm_page.h"

#include "host_bus.h"

#include <bit>
#include <cstdint>

// An entry: the frame's address, and in the low bits the rights (vm_prot) and these flags. A
// mapping always has the right to read, as on x86-64, so an entry without it maps nothing, unless it
// is wired.
using pte_t = uint64_t;
inline constexpr pte_t pte_wired = 1 << 3, pte_accessed = 1 << 4, pte_dirty = 1 << 5;
inline constexpr pte_t pte_rights = 7;

inline constexpr size_t table_size = pmap_table_entries;
inline constexpr uint64_t region_size = table_size * page_size;
inline constexpr unsigned region_shift = std::countr_zero(region_size);

constexpr bool pte_in_use(pte_t e) { return e & (pte_rights | pte_wired); }
constexpr paddr_t pte_frame(pte_t e) { return paddr_t(page_round_down(e)); }
constexpr vm_prot pte_prot(pte_t e) { return vm_prot(e & pte_rights); }
constexpr pte_t pte_of_prot(vm_prot p) { return pte_t(p | vm_prot::read); }
constexpr pte_t pte_lowered(pte_t e, vm_prot prot) { return e & (~pte_rights | pte_of_prot(prot)); }
// Whether a TLB that has loaded `before` may go on doing what `after` does not allow, or not set
// bits that `after` lacks.
constexpr bool pte_needs_flush(pte_t before, pte_t after) {
    return (before & pte_rights) &&
           (pte_frame(before) != pte_frame(after) || !allows(pte_prot(after), pte_prot(before)) ||
            (before & ~after & (pte_accessed | pte_dirty)));
}

// The entry of `va`, or null when its region has no table.
pte_t* pmap_find_pte(const pmap_machine& m, uint64_t va) REQUIRES(host_bus);

// What the entry grants as long as its table is as it is.
pte_t pmap_granted(const pmap_machine& m, uint64_t va, pte_t entry) REQUIRES(host_bus);

// pv lists (pmap_pv.cc).
bool pv_insert(vm_page& page, pmap_machine& owner, uint64_t va)
    REQUIRES(host_bus); // false: no memory
void pv_remove(vm_page& page, pmap_machine& owner, uint64_t va, pte_t old) REQUIRES(host_bus);
void pv_check(vm_page& page, const pmap_machine& owner, uint64_t va) REQUIRES(host_bus);

// Takes out the mapping at `pte`, with its pv entry and its place in the TLBs; pmap_prune() then
// frees the region's table if that was its last (pmap.cc).
void pmap_remove_pte(pmap_machine& m, uint64_t va, pte_t& pte) REQUIRES(host_bus);
void pmap_lower_pte(pmap_machine& m, uint64_t va, pte_t& pte, vm_prot prot) REQUIRES(host_bus);
void pmap_prune(pmap_machine& m, uint64_t va) REQUIRES(host_bus);

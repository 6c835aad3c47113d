// Page tables of x86-64 and their entries: what the files of pmap share among themselves.
//
// Four levels of tables with 512 entries each (Intel SDM vol. 3, 4.5). Level 4 is the root, the
// entries of level 1 map pages. Entries are changed by atomic operations, because processors
// set accessed and dirty bits in them at any time.
#pragma once

#include "arch/prot.h"
#include "lib/assert.h"
#include "lib/types.h"
#include "vm/phys/vm_page.h"

#include <atomic>
#include <machine/layout.h>
#include <machine/pmap_machine.h>

using pte_t = uint64_t;
using pte_atomic = std::atomic_ref<pte_t>;

inline constexpr pte_t pte_present = 1 << 0;
inline constexpr pte_t pte_write = 1 << 1;
inline constexpr pte_t pte_user = 1 << 2;
inline constexpr pte_t pte_write_through = 1 << 3;
inline constexpr pte_t pte_no_cache = 1 << 4;
inline constexpr pte_t pte_accessed = 1 << 5;
inline constexpr pte_t pte_dirty = 1 << 6;
inline constexpr pte_t pte_large = 1 << 7;
inline constexpr pte_t pte_global = 1 << 8;
inline constexpr pte_t pte_wired = 1 << 9; // one of the bits that are left to software
inline constexpr pte_t pte_no_execute = pte_t{1} << 63;
// What an entry that is in use has one of: a wired mapping without any right is not present.
inline constexpr pte_t pte_in_use = pte_present | pte_wired;
inline constexpr pte_t pte_address = 0x000f'ffff'ffff'f000;
inline constexpr pte_t pte_rights = pte_write | pte_no_execute;

inline constexpr size_t table_size = pmap_table_entries;
inline constexpr unsigned root_level = 4;
// The first entry of the root that belongs to the kernel, shared by all pmaps.
inline constexpr size_t first_kernel_slot = 256;

constexpr unsigned level_shift(unsigned level) { return page_shift + 9 * (level - 1); }
// The bytes that one entry of a table at `level` stands for.
constexpr uint64_t level_span(unsigned level) { return uint64_t{1} << level_shift(level); }
constexpr size_t table_index(uint64_t va, unsigned level) {
    return (va >> level_shift(level)) & (table_size - 1);
}

// Without pte_atomic's look at the alignment, since a fork does them for each resident page.
inline pte_t pte_load(const pte_t& pte) { return __atomic_load_n(&pte, __ATOMIC_RELAXED); }
inline pte_t pte_clear(pte_t& pte) { return __atomic_exchange_n(&pte, 0, __ATOMIC_SEQ_CST); }
inline bool pte_compare_exchange(pte_t& pte, pte_t& before, pte_t after) {
    return __atomic_compare_exchange_n(&pte, &before, after, true, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}
inline paddr_t pte_frame(pte_t pte) { return paddr_t(pte & pte_address); }
inline bool pte_maps(pte_t pte, paddr_t page) {
    return (pte & pte_in_use) && pte_frame(pte) == page;
}
inline pte_t* table_below(pte_t entry) {
    return reinterpret_cast<pte_t*>(direct_map_base + (entry & pte_address));
}

// The bits for `prot`; x86 cannot say "write, but not read".
constexpr pte_t pte_of_prot(vm_prot prot) {
    return pte_present | (allows(prot, vm_prot::write) ? pte_write : 0) |
           (allows(prot, vm_prot::execute) ? 0 : pte_no_execute);
}
constexpr vm_prot prot_of_pte(pte_t pte) {
    if (!(pte & pte_present))
        return vm_prot::none;
    return vm_prot::read | (pte & pte_write ? vm_prot::write : vm_prot::none) |
           (pte & pte_no_execute ? vm_prot::none : vm_prot::execute);
}
// `pte` with its rights lowered to at most `prot`.
constexpr pte_t pte_lowered(pte_t pte, vm_prot prot) {
    if (!allows(prot, vm_prot::write))
        pte &= ~pte_write;
    if (!allows(prot, vm_prot::execute))
        pte |= pte_no_execute;
    return pte;
}
// Lowers an entry so. Returns what it said; 0 if it had no right to lose.
inline pte_t pte_lower(pte_t& pte, vm_prot prot) {
    // What pte_lowered() does, as the bits that it clears and sets.
    const pte_t taken = ~pte_lowered(~pte_t{0}, prot), given = pte_lowered(0, prot);
    pte_t before = pte_load(pte);
    do {
        if (!(before & taken) && (before & given) == given)
            return 0;
    } while (!pte_compare_exchange(pte, before, (before & ~taken) | given));
    return before;
}
// Takes the right to write; returns what the entry said.
inline pte_t pte_take_write(pte_t& pte) {
    return __atomic_fetch_and(&pte, ~pte_write, __ATOMIC_SEQ_CST);
}
// Whether the change from `before` to `after` takes something away that a TLB may still grant.
// An entry that was never accessed is in no TLB; one whose bit clear_referenced() has just taken may
// be until that has flushed it, which who goes by the pv lock waits for.
constexpr bool pte_needs_flush(pte_t before, pte_t after) {
    if (!(before & pte_present) || !(before & pte_accessed))
        return false;
    return !(after & pte_present) || ((before ^ after) & pte_address) ||
           (before & ~after & (pte_write | pte_user | pte_accessed | pte_dirty)) ||
           (after & ~before & pte_no_execute);
}

// ---- Tables (pmap_tables.cc). The way to an entry, and new ones: pte_cursor.

// Tables that were unhooked. Processors may still walk them: this ends, and frees them, after some
// address of the pmap has been flushed and its lock has been let go of.
class unhooked_tables {
public:
    unhooked_tables() = default;
    unhooked_tables(const unhooked_tables&) = delete;
    ~unhooked_tables();
    bool empty() const { return tables_.empty(); }
    void add(vm_page& table) { tables_.push_back(table); }

private:
    list<vm_page, &vm_page::queue> tables_;
};
// Unhooks the tables above `va` that have become empty.
void pmap_prune(pmap_machine& m, uint64_t va, unhooked_tables& dead) REQUIRES(m.lock);
// The same when memory for an entry at `va` is not to be had, and the flush that it wants.
void pmap_prune_and_flush(pmap_machine& m, uint64_t va, unhooked_tables& dead) REQUIRES(m.lock);
// How many entries of the table that `pte` is in are in use; that so many more are, or fewer.
unsigned pmap_entries_in_use(const pte_t& pte);
void pmap_entries_changed(const pte_t& pte, int by);

pmap_machine& pmap_kernel_machine();
void pmap_count_table(pmap_machine& m, int by);

inline void pmap_add(std::atomic<uint64_t>& statistic, int64_t by) {
    statistic.store(statistic.load(std::memory_order_relaxed) + static_cast<uint64_t>(by),
                    std::memory_order_relaxed);
}

// One more mapping of the page (or one less). The pmap's lock is held.
inline void pmap_count_mapping(pmap_machine& m, const vm_page& page, int by) {
    pmap_add(m.resident, by);
    if (page.owner_kind == page_owner::anon)
        pmap_add(m.anons, by);
    else if (page.owner_kind == page_owner::object)
        pmap_add(m.objects, by);
}

// ---- pv lists (pmap_pv.cc)

// Records that `owner` maps `page` at `va`. False when out of memory. The pmap's lock is held.
bool pv_insert(vm_page& page, pmap_machine& owner, uint64_t va);
// Takes that record back and keeps what `old` says about use of the page. The pmap's lock is held.
void pv_remove(vm_page& page, pmap_machine& owner, uint64_t va, pte_t old);
// The pages whose records a pass over a range takes back before it flushes: page_protect() waits
// for the end of this, for it no longer finds what TLBs may still grant, and its caller frees the
// page.
class pv_unflushed {
public:
    pv_unflushed() = default;
    pv_unflushed(const pv_unflushed&) = delete;
    ~pv_unflushed();                // after the flush
    void note(const vm_page& page); // before pv_remove()

private:
    uint64_t lists_ = 0; // a bit for each lock of pv lists
};
// Panics unless exactly one entry of the page says (owner, va).
void pv_check(vm_page& page, const pmap_machine& owner, uint64_t va);

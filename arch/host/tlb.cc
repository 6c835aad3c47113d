#include "tlb.h"

#include "arch/cpu.h"
#include "lib/assert.h"
#include "vm/phys/uvmexp.h"

#include "host_machine.h"
#include "pmap_tables.h"

#include <map>
#include <utility>

constinit spin_lock host_bus{lock_rank::pmap, "host bus"};

namespace {

using tlb_key = std::pair<const pmap_machine*, uint64_t>; // address of the page

// All guarded by host_bus. An entry is the page-table entry as it was when it was loaded.
std::map<tlb_key, pte_t> tlbs[max_cpus];
unsigned flushes_to_lose;

// What a TLB allows must be what the page table still says.
void check_hit(const pmap_machine& m, uint64_t va, pte_t entry, vm_prot access) REQUIRES(host_bus) {
    const vm_page* page = vm_page_of(pte_frame(entry));
    const pte_t* pte = pmap_find_pte(m, va);
    if (page->owner_kind == page_owner::free)
        panic("host: CPU %u uses a stale TLB entry for %#lx: page %#lx is free", cpu::id(), va,
              pte_frame(entry).value());
    if (!pte || !pte_in_use(*pte))
        panic("host: CPU %u uses a stale TLB entry for %#lx: it is unmapped", cpu::id(), va);
    if (pte_frame(*pte) != pte_frame(entry))
        panic("host: CPU %u uses a stale TLB entry for %#lx: page %#lx has replaced %#lx",
              cpu::id(), va, pte_frame(*pte).value(), pte_frame(entry).value());
    if (!allows(pte_prot(pmap_granted(m, va, *pte)), access))
        panic("host: CPU %u uses a stale TLB entry for %#lx: rights %u have become %u", cpu::id(),
              va, unsigned(pte_prot(entry)), unsigned(pte_prot(*pte)));
}

} // namespace

uint8_t* tlb::translate(pmap_machine& m, vaddr_t va, vm_prot access) {
    auto& mine = tlbs[cpu::id()];
    const uint64_t page_va = va.page_down().value();
    const bool write = access == vm_prot::write;
    auto hit = mine.find({&m, page_va});
    // An entry loaded by a read does not yet say that the page is modified: the first write looks
    // at the table again, to set the bit there.
    if (hit == mine.end() || !allows(pte_prot(hit->second), access) ||
        (write && !(hit->second & pte_dirty))) {
        pte_t* pte = pmap_find_pte(m, page_va);
        if (!pte || !allows(pte_prot(pmap_granted(m, page_va, *pte)), access)) {
            flush_here(m, page_va); // a page fault forgets the translation that caused it
            return nullptr;
        }
        *pte |= pte_accessed | (write ? pte_dirty : 0);
        hit = mine.insert_or_assign({&m, page_va}, pmap_granted(m, page_va, *pte)).first;
    }
    check_hit(m, page_va, hit->second, access);
    return static_cast<uint8_t*>(direct_map(pte_frame(hit->second))) + va.page_offset();
}

void tlb::flush(pmap_machine& m, uint64_t va) {
    if (flushes_to_lose != 0) {
        flushes_to_lose--;
        return;
    }
    flush_here(m, va);
    for (unsigned i = 0; i < max_cpus; i++) {
        if (i != cpu::id() && tlbs[i].erase({&m, va}) != 0) {
            uvm_count(uvm_counter::flushes_remote);
            uvm_count(uvm_counter::shootdowns_sent);
        }
    }
}

void tlb::flush_here(pmap_machine& m, uint64_t va) {
    uvm_count(uvm_counter::flushes_local, tlbs[cpu::id()].erase({&m, va}));
}

bool tlb::unknown(const pmap_machine& m) {
    for (const auto& each : tlbs) {
        auto first = each.lower_bound({&m, 0});
        if (first != each.end() && first->first.first == &m)
            return false;
    }
    return true;
}

void host_lose_flushes(unsigned count) {
    lock_guard guard(host_bus);
    flushes_to_lose = count;
}

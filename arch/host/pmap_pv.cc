// pv lists: from a page to its mappings. As on x86-64 the first mapping's entry is in the
// page, further ones come from a pool and can be refused. Told anew, and not shared with that: one
// lock and a list are enough here, and two tellings of the interface find each other's mistakes.
#include "arch/pmap.h"

#include "lib/assert.h"
#include "vm/phys/event.h"
#include "vm/phys/pool.h"

#include "pmap_tables.h"
#include "tlb.h"

#include <utility>

namespace {

constinit pool<pv_entry> pv_entries{"pv_entry"};

// Calls visit(entry, pte) for each mapping of the page.
template <class Visit> void for_each_mapping(vm_page& page, Visit visit) REQUIRES(host_bus) {
    for (pv_entry* e = &page.md.first; e && e->owner; e = e->next) {
        pte_t* pte = pmap_find_pte(*e->owner, e->va);
        ASSERT(pte && pte_in_use(*pte) && pte_frame(*pte) == page.physical());
        visit(*e, *pte);
    }
}

bool any_in_mappings(vm_page& page, pte_t bit) REQUIRES(host_bus) {
    bool seen = false;
    for_each_mapping(page, [&](pv_entry&, pte_t& pte) { seen |= (pte & bit) != 0; });
    return seen;
}

bool clear_in_mappings(vm_page& page, pte_t bit) REQUIRES(host_bus) {
    bool seen = false;
    for_each_mapping(page, [&](pv_entry& e, pte_t& pte) REQUIRES(host_bus) {
        if (!(pte & bit))
            return;
        seen = true;
        pte &= ~bit;
        tlb::flush(*e.owner, e.va); // a TLB that has the bit set would not set it again
    });
    return seen;
}

} // namespace

bool pv_insert(vm_page& page, pmap_machine& owner, uint64_t va) {
    if (page.mappings_unlisted())
        return true;
    if (!page.md.mapped()) {
        page.md.first = {&owner, va, nullptr};
        return true;
    }
    pv_entry* e = pv_entries.create(&owner, va, page.md.first.next);
    if (!e)
        return false;
    page.md.first.next = e;
    return true;
}

void pv_remove(vm_page& page, pmap_machine& owner, uint64_t va, pte_t old) {
    if (page.mappings_unlisted())
        return;
    page.md.referenced |= (old & pte_accessed) != 0;
    page.md.modified |= (old & pte_dirty) != 0;
    pv_entry* e = &page.md.first;
    if (e->owner == &owner && e->va == va) {
        if (pv_entry* second = e->next) {
            *e = *second;
            pv_entries.destroy(second);
        } else {
            *e = {};
        }
        return;
    }
    for (pv_entry** link = &e->next; (e = *link); link = &e->next) {
        if (e->owner == &owner && e->va == va) {
            *link = e->next;
            pv_entries.destroy(e);
            return;
        }
    }
    panic("pmap: page %#lx has no pv entry for address %#lx", page.physical().value(), va);
}

void pv_check(vm_page& page, const pmap_machine& owner, uint64_t va) {
    if (page.mappings_unlisted())
        return;
    unsigned found = 0;
    for_each_mapping(page, [&](pv_entry& e, pte_t&) { found += e.owner == &owner && e.va == va; });
    ASSERT(found == 1);
}

void pmap::page_protect(vm_page& page, vm_prot prot) {
    lock_guard guard(host_bus);
    uint64_t changed = 0;
    for (; prot == vm_prot::none && page.md.mapped(); changed++) {
        pmap_machine& m = *page.md.first.owner;
        const uint64_t va = page.md.first.va;
        pmap_remove_pte(m, va, *pmap_find_pte(m, va));
        pmap_prune(m, va);
    }
    for_each_mapping(page, [&](pv_entry& e, pte_t& pte) REQUIRES(host_bus) {
        changed += pte_lowered(pte, prot) != pte;
        pmap_lower_pte(*e.owner, e.va, pte, prot);
    });
    EVENT(page_protected, .page = page.physical(), .prot = trace::protection(prot),
          .entries = changed);
}

bool pmap::is_referenced(vm_page& page) {
    lock_guard guard(host_bus);
    return page.md.referenced || any_in_mappings(page, pte_accessed);
}

bool pmap::is_modified(vm_page& page) {
    lock_guard guard(host_bus);
    return page.md.modified || any_in_mappings(page, pte_dirty);
}

bool pmap::is_wired(vm_page& page) {
    lock_guard guard(host_bus);
    return any_in_mappings(page, pte_wired);
}

bool pmap::clear_referenced(vm_page& page) {
    lock_guard guard(host_bus);
    bool in_mappings = clear_in_mappings(page, pte_accessed);
    return std::exchange(page.md.referenced, false) || in_mappings;
}

bool pmap::clear_modified(vm_page& page) {
    lock_guard guard(host_bus);
    bool in_mappings = clear_in_mappings(page, pte_dirty);
    return std::exchange(page.md.modified, false) || in_mappings;
}

unsigned pmap::mapping_count(vm_page& page) {
    lock_guard guard(host_bus);
    unsigned n = 0;
    for_each_mapping(page, [&](pv_entry&, pte_t&) { n++; });
    return n;
}

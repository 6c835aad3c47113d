// Inside vmspace: a walk over what an entry has in memory.
#pragma once

#include "arch/pmap.h"
#include "lib/long_work.h"
#include "vm/phys/vm_page.h"
#include "vm/vmspace.h"

// Calls visit(va, page, mapping) for each page of the entry's layers that is mapped.
template <class Visit> void vmspace::for_each_mapped_page(vm_map_entry& e, Visit visit) {
    for_each_page(e, [&](vaddr_t va, vm_page& page) {
        auto mapping = pmap_->lookup(va);
        if (mapping && mapping->pa == page.physical())
            visit(va, page, *mapping);
    });
}

// Calls visit(va, page) for each page in memory that the entry's layers have. Goes by what is in the
// layers, which may be a few pages of a mapping of terabytes. The page's owner is locked.
template <class Visit> void vmspace::for_each_page(vm_map_entry& e, Visit visit) {
    if (vm_amap* amap = e.aref.amap()) {
        lock_guard guard(amap->lock());
        slot_t slot = e.aref.first();
        for (; vm_anon* anon = amap->find_from(slot, e.slot_end()); slot++) {
            if (vm_page* page = anon->page())
                visit(e.start + ((slot - e.aref.first()) << page_shift), *page);
            long_work::pause();
        }
    }
    if (e.object) {
        lock_guard guard(e.object->lock());
        const uint64_t first = e.object_index(e.start);
        uint64_t index = first;
        for (; vm_page* page = e.object->next_resident(index, first + e.pages()); index++) {
            visit(e.start + ((index - first) << page_shift), *page);
            long_work::pause();
        }
    }
}

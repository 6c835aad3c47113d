// What a program says about pages that it needs no more, or soon: MADV_COLD, MADV_PAGEOUT,
// MADV_WILLNEED.
//
// As Linux: a page that somebody else has, too, stays as it is; wired memory is refused. Some pages
// are looked at in one hold of the locks, and none is held while a disk works.
#include "arch/pmap.h"
#include "lib/long_work.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_pager.h"
#include "vm/uvm_pdaemon.h"
#include "vm/vmspace.h"

using namespace linux_abi;

namespace {
constexpr unsigned looks_at_once = 256;

// Whether there was room for it.
bool put_out(vm_page& page, const page_owner_lock& owner, page_out& out) {
    if (out.full())
        return false;
    if (page_out::may_go(page)) {
        uvm_pdpolicy::dequeue(page);
        (void)out.take(page, owner);
    }
    return true;
}

} // namespace

// Calls look(page, owner) for the pages in memory of [va, end), a part of the entry, that nobody else
// has; without those of the object, if `private_only`. Ends where look() says false, or when it has
// been long enough: where.
template <class Look>
vaddr_t vmspace::each_own_page(vm_map_entry& e, vaddr_t va, vaddr_t end, bool private_only,
                               Look look) {
    unsigned left = looks_at_once;
    if (vm_amap* amap = e.aref.amap()) {
        lock_guard guard(amap->lock());
        for (slot_t slot = e.slot_of(va); vm_anon* anon = amap->find_from(slot, e.slot_of(end));
             slot++) {
            vm_page* page = anon->page();
            const bool own = page && anon->references() == 1 && !amap->shared(slot, slot + 1) &&
                             pmap::mapping_count(*page) <= 1;
            if (left-- == 0 || (own && !look(*page, page_owner_lock(amap->lock())))) {
                end = e.address_of(slot);
                break;
            }
        }
    }
    if (!e.object || private_only)
        return end;
    const page_owner_lock owner(e.object); // outlives the guard
    lock_guard guard(e.object->lock());
    left = looks_at_once; // at least one page has its turn
    const uint64_t last = e.object_index(end);
    for (uint64_t at = e.object_index(va); vm_page* page = e.object->next_resident(at, last);
         at++) {
        const vaddr_t where = va + ((at - e.object_index(va)) << page_shift);
        const auto mapping = pmap_->lookup(where);
        const bool own =
            mapping && mapping->pa == page->physical() && pmap::mapping_count(*page) == 1;
        if (left-- == 0 || (own && !look(*page, owner)))
            return where;
    }
    return end;
}

// Begins to bring in the first page of [va, end), a part of the entry, that is out in one of its
// layers: where to go on.
vaddr_t vmspace::bring_in_first(vm_map_entry& e, layer which, vaddr_t va, vaddr_t end,
                                page_in& later) {
    if (which == layer::object) {
        if (!e.object)
            return end;
        lock_guard guard(e.object->lock());
        uint64_t index = e.object_index(va);
        const bool found = e.object->next_out(index, e.object_index(end));
        if (found)
            (void)e.object->bring_in(index, false, later);
        return found ? va + ((index + 1 - e.object_index(va)) << page_shift) : end;
    }
    vm_amap* amap = e.aref.amap();
    if (!amap)
        return end;
    lock_guard guard(amap->lock());
    slot_t slot = e.slot_of(va);
    for (unsigned left = looks_at_once; vm_anon* anon = amap->find_from(slot, e.slot_of(end));
         slot++)
        if (anon->is_swapped() || --left == 0) {
            (void)amap->bring_in(slot, e.slot_of(end), later);
            return e.address_of(slot + 1);
        }
    return end;
}

// ENOMEM for a hole, at the end; EINVAL for wired memory, at once; EINTR. A page that cannot be moved
// is no error: this is advice.
status vmspace::advise_paging(vaddr_t start, vaddr_t end, int advice, layer which) {
    bool hole = false, may_put_out = true;
    ref_ptr<uvm_handle> asked; // which of the range's files that is so of
    for (vaddr_t va = start; va < end;) {
        TRY(long_work::go_on());
        page_out out;
        page_in later;
        ref_ptr<uvm_handle> ask;
        {
            read_guard guard(map_.lock());
            vm_map_entry* e = map_.lookup_or_next(va);
            hole |= !e || e->start > va;
            if (!e || e->start >= end)
                break;
            if (e->wired_count && advice != madv_willneed)
                return fail(Errno::inval);
            const vaddr_t from = std::max(va, e->start), to = std::min(end, e->end);
            if (advice == madv_pageout && e->handle && e->handle != asked)
                ask = e->handle;
            else if (advice == madv_willneed)
                va = uvm_swap::pages() != 0 || (e->object && e->object->has_home())
                         ? bring_in_first(*e, which, from, to, later)
                         : to;
            else
                va = each_own_page(*e, from, to, e->handle && !may_put_out,
                                   [&](vm_page& page, const page_owner_lock& owner) {
                                       if (advice == madv_pageout)
                                           return put_out(page, owner, out);
                                       (void)pmap::clear_referenced(page);
                                       uvm_pdpolicy::deactivate(page);
                                       return true;
                                   });
        }
        if (ask) { // without locks
            may_put_out = ask->may_put_out();
            asked = std::move(ask);
        }
        out.finish();
        (void)page_in_finish(later);
    }
    return hole ? status(fail(Errno::nomem)) : status();
}

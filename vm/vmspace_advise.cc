// madvise(2), minherit(2), mincore(2), msync(2): what a program says and asks about its mappings.
#include "arch/pmap.h"
#include "lib/long_work.h"
#include "vm/uvm_pdaemon.h"
#include "vm/vmspace.h"

using namespace linux_abi;

// The range of a call that takes any size: EINVAL when it leaves what an address can be.
static expected<vaddr_t> range_end(vaddr_t start, uint64_t size, Errno beyond) {
    if (!start.page_aligned())
        return fail(Errno::inval);
    uint64_t rounded = page_round_up(size);
    if (rounded < size)
        return fail(Errno::inval);
    if (start > user_max || rounded > user_max - start)
        return fail(beyond);
    return start + rounded;
}

static void no_change(vm_attributes&, const vm_map_entry&) {}

// Calls change(attributes, entry) for the entries of the range, clipped to it. As Linux has it,
// holes are passed over and reported at the end: ENOMEM. EAGAIN when there is no memory to clip
// with, or no room for more entries.
template <class Change> status vmspace::change_range(vaddr_t start, vaddr_t end, Change change) {
    lock_guard guard(map_.lock());
    bool hole = !map_.range_mapped(start, end);
    entry_stock stock;
    if (!map_.reserve_change(start, end, stock, change))
        return fail(Errno::again);
    vm_map_entry* e = map_.clip_range(start, end, stock);
    for (; e && e->start < end; e = map_.next(*e)) {
        map_.alter(*e, [&](vm_map_entry& entry) { change(entry, entry); });
        long_work::pause();
    }
    map_.merge_range(start, end);
    return hole ? status(fail(Errno::nomem)) : status();
}

status vmspace::advise(vaddr_t start, uint64_t size, int advice) {
    if (!known_advice(advice) || start.value() + size < size) // it wraps
        return fail(Errno::inval);
    if (size == 0 && start.page_aligned())
        return {};
    vaddr_t end = TRY(range_end(start, size, Errno::nomem));
    auto set = [&](vm_advice value) {
        return change_range(start, end,
                            [&](vm_attributes& a, const vm_map_entry&) { a.advice = value; });
    };
    status result = {};
    switch (advice) {
    case madv_normal: result = set(vm_advice::normal); break;
    case madv_random: result = set(vm_advice::random); break;
    case madv_sequential: result = set(vm_advice::sequential); break;
    case madv_willneed:
        result = advise_paging(start, end, advice, layer::amap);
        if (result)
            result = advise_paging(start, end, advice, layer::object);
        break;
    case madv_cold:
    case madv_pageout: result = advise_paging(start, end, advice); break;
    case madv_dontneed: result = drop_pages(start, end, false); break;
    case madv_free: result = drop_pages(start, end, true); break;
    case madv_populate_read: result = populate_for_advice(start, end, vm_prot::read); break;
    case madv_populate_write: result = populate_for_advice(start, end, vm_prot::write); break;
    default: result = set_inheritance(start, end, advice); break;
    }
    check_seam();
    return result;
}

bool vmspace::known_advice(int advice) {
    switch (advice) {
    case madv_normal:
    case madv_random:
    case madv_sequential:
    case madv_willneed:
    case madv_dontneed:
    case madv_free:
    case madv_dontfork:
    case madv_dofork:
    case madv_wipeonfork:
    case madv_keeponfork:
    case madv_cold:
    case madv_pageout:
    case madv_populate_read:
    case madv_populate_write: return true;
    default: return false;
    }
}

// ---- Inheritance -----------------------------------------------------------------------------

status vmspace::inherit(vaddr_t start, uint64_t size, vm_inherit value) {
    vaddr_t end = TRY(range_end(start, size, Errno::inval));
    status result = change_range(
        start, end, [&](vm_attributes& a, const vm_map_entry&) { a.inheritance = value; });
    check_seam();
    return result;
}

// Linux's four words for what minherit(2) says.
status vmspace::set_inheritance(vaddr_t start, vaddr_t end, int advice) {
    if (advice == madv_wipeonfork) {
        read_guard guard(map_.lock());
        for (vm_map_entry* e = map_.lookup_or_next(start); e && e->start < end; e = map_.next(*e))
            if (!e->copy_on_write || e->object)
                return fail(Errno::inval);
    }
    return change_range(start, end, [&](vm_attributes& a, const vm_map_entry& e) {
        if (advice == madv_dontfork)
            a.inheritance = vm_inherit::none;
        else if (advice == madv_wipeonfork)
            a.inheritance = vm_inherit::zero;
        else if (advice == madv_dofork && e.inheritance == vm_inherit::none)
            a.inheritance = e.default_inheritance;
        else if (advice == madv_keeponfork && e.inheritance == vm_inherit::zero)
            a.inheritance = e.default_inheritance;
    });
}

// ---- Throwing pages away ---------------------------------------------------------------------

// MADV_DONTNEED: private memory reads as if it had never been touched; shared memory is only
// unmapped. MADV_FREE (`lazily`): private anonymous memory alone, and at some later time, unless it
// is written to before. Where no page daemon would come, it acts at once.
status vmspace::drop_pages(vaddr_t start, vaddr_t end, bool lazily) {
    lock_guard guard(map_.lock());
    bool hole = !map_.range_mapped(start, end);
    for (vm_map_entry* e = map_.lookup_or_next(start); e && e->start < end; e = map_.next(*e))
        if (e->wired_count || (lazily && (!e->copy_on_write || e->object)))
            return fail(Errno::inval);
    entry_stock stock;
    // Nothing but pages changes, unless the other side of a fork keeps them: then the part of the
    // amap goes with them, and what is cut out may stay so.
    auto loses_amap = [&](vaddr_t at) REQUIRES_SHARED(map_.lock()) {
        const vm_map_entry* e = map_.lookup(at);
        return e && e->needs_copy && e->aref;
    };
    if (loses_amap(start) || loses_amap(end) ? !map_.reserve_clips(start, end, stock)
                                             : !map_.reserve_change(start, end, stock, no_change))
        return fail(Errno::again);
    vm_map_entry* e = map_.clip_range(start, end, stock);
    for (; e && e->start < end; e = map_.next(*e)) {
        drop_pages_of(*e, lazily && uvm_pdaemon::is_running());
        long_work::pause();
    }
    map_.merge_range(start, end);
    return hole ? status(fail(Errno::nomem)) : status();
}

void vmspace::drop_pages_of(vm_map_entry& e, bool lazily) {
    pmap_->remove(e.start, e.end);
    vm_amap* amap = e.aref.amap();
    if (!amap)
        return;
    bool forget = false;
    {
        lock_guard guard(amap->lock());
        slot_t first = e.aref.first(), end = e.slot_end();
        if (!amap->shared(first, end))
            lazily ? free_lazily(e, *amap) : amap->wipe(first, end);
        else if (e.needs_copy)
            forget = true; // the other side of a fork keeps the amap
        else
            wipe_unshared(*amap, first, end);
    }
    if (forget)
        e.aref.release();
}

// Nothing of it is mapped, and will not be while the map is locked: a page that may be lost is mapped
// writable by nobody. What is out, or another process has, too, goes at once.
void vmspace::free_lazily(vm_map_entry& e, vm_amap& amap) {
    for (slot_t slot = e.aref.first(); vm_anon* anon = amap.find_from(slot, e.slot_end()); slot++) {
        if (anon->references() != 1 || !anon->free_lazily())
            amap.wipe(slot, slot + 1);
        long_work::pause();
    }
}

// Memory that is shared by inheritance belongs to both sides and stays.
void vmspace::wipe_unshared(vm_amap& amap, slot_t first, slot_t end) {
    for (slot_t slot = first; amap.find_from(slot, end); slot++)
        if (!amap.shared(slot, slot + 1))
            amap.wipe(slot, slot + 1);
}

// ---- Bringing pages in -----------------------------------------------------------------------

// ENOMEM for a hole, EINVAL for a page that may not be accessed so, EFAULT for one past the end
// of its object.
status vmspace::populate_for_advice(vaddr_t start, vaddr_t end, vm_prot access) {
    for (vaddr_t va = start; va < end; va += page_size) {
        TRY(long_work::go_on());
        switch (fault_in(va, access, false)) {
        case fault_outcome::resolved: break;
        case fault_outcome::maperr: return fail(Errno::nomem);
        case fault_outcome::accerr: return fail(Errno::inval);
        case fault_outcome::nomem: return fail(Errno::nomem);
        case fault_outcome::adrerr:
        case fault_outcome::io_error: return fail(Errno::fault);
        }
    }
    return {};
}

// ---- mincore, msync --------------------------------------------------------------------------

status vmspace::mincore(vaddr_t start, uint64_t size, uint8_t* vec) {
    vaddr_t end = TRY(range_end(start, size, Errno::nomem));
    read_guard guard(map_.lock());
    if (start < end && !map_.range_mapped(start, end))
        return fail(Errno::nomem);
    for (vm_map_entry* e = map_.lookup(start); e && e->start < end; e = map_.next(*e)) {
        vaddr_t last = std::min(end, e->end);
        for (vaddr_t va = std::max(start, e->start); va < last; va += page_size) {
            TRY(long_work::go_on());
            *vec++ = page_resident(*e, va);
        }
    }
    return {};
}

// Whether a fault at `va` would find a page in memory.
bool vmspace::page_resident(vm_map_entry& e, vaddr_t va) {
    if (vm_amap* amap = e.aref.amap()) {
        lock_guard guard(amap->lock());
        if (vm_anon* anon = amap->lookup(e.slot_of(va)))
            return anon->page();
    }
    if (!e.object)
        return false;
    lock_guard guard(e.object->lock());
    return e.object->lookup(e.object_index(va)) != nullptr;
}

// Objects are written back without the map's lock: that may take long.
status vmspace::sync(vaddr_t start, uint64_t size, int flags) {
    if (flags & ~(ms_async | ms_invalidate | ms_sync))
        return fail(Errno::inval);
    if ((flags & ms_async) && (flags & ms_sync))
        return fail(Errno::inval);
    vaddr_t end = TRY(range_end(start, size, Errno::nomem));
    bool hole = false;
    for (vaddr_t va = start; va < end;) {
        TRY(long_work::go_on());
        ref_ptr<uvm_handle> handle;
        ref_ptr<uvm_object> object;
        uint64_t first = 0, last = 0;
        {
            read_guard guard(map_.lock());
            vm_map_entry* e = map_.lookup_or_next(va);
            hole |= !e || e->start > va;
            if (!e || e->start >= end)
                break;
            if ((flags & ms_invalidate) && e->wired_count)
                return fail(Errno::busy);
            vaddr_t from = std::max(va, e->start);
            va = std::min(end, e->end);
            if (!e->copy_on_write && e->handle && (flags & ms_sync)) {
                handle = e->handle;
                object = e->object;
                first = e->object_index(from);
                last = first + ((va - from) >> page_shift);
            }
        }
        if (object)
            TRY(handle->synced(object->put(first, last)));
    }
    return hole ? status(fail(Errno::nomem)) : status();
}

// mlock2(2), munlock(2), mlockall(2): wired memory. Its pages are brought in at once, private ones
// as the copies that a write would make (unless the program wants them as they come), and stay
// mapped; a fork copies them at once, so that they never fault.
#include "arch/pmap.h"
#include "vm/uvm_pdpolicy.h"
#include "vm/vmspace.h"
#include "vm/vmspace_pages.h"

// `over`: the error when the limit would be passed.
status vmspace::check_memlock(uint64_t more, Errno over) const {
    const uint64_t limit = vm_limit_of_caller(vm_limit::memlock);
    if (limit == vm_unlimited)
        return {};
    return map_.totals().locked + more > limit >> page_shift ? status(fail(over)) : status();
}

// Any address and size will do: the end of the pages that hold the last byte. EINVAL when there are
// more than there are addresses. As on Linux, a size of nearly all that a number can say is none.
static expected<vaddr_t> end_of_pages(vaddr_t start, uint64_t size) {
    const vaddr_t end = start.page_down() + page_round_up(size + start.page_offset());
    return end < start.page_down() ? expected<vaddr_t>(fail(Errno::inval)) : end;
}

status vmspace::lock_pages(vaddr_t start, uint64_t size, bool on_fault) {
    const expected<vaddr_t> checked_end = end_of_pages(start, size);
    if (!checked_end) {
        // As on Linux, the limit is asked before the range.
        read_guard guard(map_.lock());
        TRY(check_memlock(page_round_up(size + start.page_offset()) >> page_shift, Errno::nomem));
        return fail(checked_end.error());
    }
    const vaddr_t end = *checked_end;
    start = start.page_down();
    if (start == end)
        return {};
    status result = on_fault ? set_wired(start, end, wiring::on_fault) : lock_at_once(start, end);
    if (on_fault || !result)
        hold_wired(start, end);
    check_seam();
    return result;
}

// First the pages are brought in, which leaves nothing but pages that are resident when memory
// runs out; then the range is wired. As on Linux, a page that may not be accessed is an error and
// is wired all the same, and before a hole nothing is brought in.
status vmspace::lock_at_once(vaddr_t start, vaddr_t end) {
    bool whole;
    {
        read_guard guard(map_.lock());
        TRY(check_wirable(start, end));
        whole = map_.range_mapped(start, end);
    }
    status brought_in = whole ? populate(start, end) : status();
    if (!brought_in && (brought_in.error() == Errno::again || brought_in.error() == Errno::intr))
        return brought_in;
    TRY(set_wired(start, end, wiring::at_once));
    // What another thread has taken away meanwhile, or the page daemon.
    const status again = whole ? populate(start, end) : status();
    return brought_in && !again && again.error() == Errno::nomem ? again : brought_in;
}

// RLIMIT_MEMLOCK for a range, holes and all: ENOMEM.
status vmspace::check_wirable(vaddr_t start, vaddr_t end) const {
    const uint64_t pages = (end - start) >> page_shift;
    return check_memlock(pages - map_.overlap_with(start, end).locked, Errno::nomem);
}

status vmspace::unlock_pages(vaddr_t start, uint64_t size) {
    vaddr_t end = TRY(end_of_pages(start, size));
    start = start.page_down();
    if (start == end)
        return {};
    status result = set_wired(start, end, wiring::none);
    check_seam();
    return result;
}

// ENOMEM as check_wirable(), or no memory to clip with: nothing has changed. ENOMEM for a hole:
// what lies before it has.
status vmspace::set_wired(vaddr_t start, vaddr_t end, wiring how) {
    lock_guard guard(map_.lock());
    if (how != wiring::none)
        TRY(check_wirable(start, end));
    const vaddr_t reached = map_.first_hole(start, end);
    if (start < reached) {
        entry_stock stock;
        TRY(map_.reserve_change(
            start, reached, stock,
            [how](vm_attributes& a, const vm_map_entry&) { set_wiring(a, how); }));
        vm_map_entry* e = map_.clip_range(start, reached, stock);
        for (; e && e->start < reached; e = map_.next(*e))
            wire_entry(*e, how);
        map_.merge_range(start, reached);
    }
    return reached == end ? status() : status(fail(Errno::nomem));
}

void vmspace::set_wiring(vm_attributes& a, wiring how) {
    a.wired_count = how != wiring::none;
    a.wired_on_fault = how == wiring::on_fault;
}

void vmspace::wire_entry(vm_map_entry& e, wiring how) {
    wire_pages(e, how != wiring::none);
    map_.alter(e, [&](vm_map_entry& entry) { set_wiring(entry, how); });
}

// Goes by what is in memory: the entry may be terabytes of which little was ever touched. What the
// page daemon has passed by since it was wired may go from now on.
void vmspace::wire_pages(vm_map_entry& e, bool wired) {
    for_each_page(e, [&](vaddr_t va, vm_page& page) {
        const auto mapping = pmap_->lookup(va);
        if (!wired)
            uvm_pdpolicy::wake(page);
        if (!mapping || mapping->pa != page.physical() || mapping->wired == wired)
            return;
        if (wired)
            pmap_->wire(va);
        else if (mapping->prot == vm_prot::none)
            pmap_->remove(va, va + page_size);
        else
            pmap_->unwire(va);
    });
}

// A wired page stays by its mapping, which memory without rights has lost, and what was moved. A fault
// maps it again, and asks for no right; what there is no memory for, or no time, comes when it is
// touched.
void vmspace::hold_wired(vaddr_t start, vaddr_t end) {
    for (vaddr_t va = start; va < end && long_work::go_on();) {
        {
            read_guard guard(map_.lock());
            vm_map_entry* e = map_.lookup_or_next(va);
            if (!e || e->start >= end)
                return;
            const vaddr_t to = std::min(end, e->end);
            va = e->wired_count ? first_loose(*e, std::max(va, e->start), to) : to;
            if (va == to)
                continue;
        }
        if (fault_in(va, vm_prot::read, true) == fault_outcome::nomem)
            return;
        va += page_size;
    }
}

// The first page of [va, end), a part of a wired entry, that its layers have, and that nothing keeps
// in memory, or that is in swap and to be brought in; `end`: none.
vaddr_t vmspace::first_loose(vm_map_entry& e, vaddr_t va, vaddr_t end) {
    auto is_held = [this](vaddr_t at) {
        long_work::pause();
        const auto mapping = pmap_->lookup(at);
        return mapping && mapping->wired;
    };
    const bool also_out = !e.wired_on_fault;
    if (vm_amap* amap = e.aref.amap()) {
        lock_guard guard(amap->lock());
        for (slot_t slot = e.slot_of(va); vm_anon* anon = amap->find_from(slot, e.slot_of(end));
             slot++)
            if ((also_out || anon->page()) && !is_held(e.address_of(slot))) {
                end = e.address_of(slot);
                break;
            }
    }
    if (!e.object)
        return end;
    lock_guard guard(e.object->lock());
    const uint64_t first = e.object_index(va);
    for (uint64_t at = first; e.object->next_resident(at, e.object_index(end)); at++)
        if (const vaddr_t where = va + ((at - first) << page_shift); !is_held(where)) {
            end = where;
            break;
        }
    uint64_t out = first;
    if (also_out && !e.object->has_home() && e.object->next_out(out, e.object_index(end)))
        end = va + ((out - first) << page_shift);
    return end;
}

// ---- All of it -------------------------------------------------------------------------------

// As Linux, what cannot be brought in is no error.
status vmspace::lock_all(wiring current, wiring future) {
    {
        lock_guard guard(map_.lock());
        if (current != wiring::none)
            TRY(check_memlock(map_.totals().all - map_.totals().locked, Errno::nomem));
        future_wiring_ = future;
        if (current != wiring::none) {
            for (vm_map_entry* e = map_.first(); e; e = map_.next(*e))
                wire_entry(*e, current);
            map_.merge_range(user_min, user_max);
        }
    }
    vaddr_t from{};
    while (current == wiring::at_once) {
        auto region = region_at_or_after(from);
        if (!region)
            break;
        if (!populate(region->start, region->end))
            hold_wired(region->start, region->end);
        from = region->end;
    }
    if (current == wiring::on_fault)
        hold_wired(user_min, user_max);
    check_seam();
    return {};
}

void vmspace::unlock_all() {
    {
        lock_guard guard(map_.lock());
        future_wiring_ = wiring::none;
        for (vm_map_entry* e = map_.first(); e; e = map_.next(*e))
            wire_entry(*e, wiring::none);
        map_.merge_range(user_min, user_max);
    }
    check_seam();
}

// MCL_FUTURE: an entry that is about to be mapped.
void vmspace::wire_as_future(vm_map_entry& e) const {
    if (future_wiring_ != wiring::none)
        set_wiring(e, future_wiring_);
}

// Whether the pages of the mapping at `at` are wired and to be brought in now.
bool vmspace::is_to_populate(vaddr_t at) const {
    read_guard guard(map_.lock());
    vm_map_entry* e = map_.lookup(at);
    return e && e->wired_count && !e->wired_on_fault;
}

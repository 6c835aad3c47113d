// mlock2(2), munlock(2), mlockall(2): wired memory. Its pages are brought in at once, private ones
// as the copies that a write would make (unless the program wants them as they come), and stay
// mapped; a fork copies them at once, so that they never fault.
#include "arch/pmap.h"
#include "vm/vmspace.h"
#include "vm/vmspace_pages.h"

// `over`: the error when the limit would be passed.
status vmspace::check_memlock(uint64_t more, Errno over) const {
    uint64_t limit = limits.memlock.load(std::memory_order_relaxed) >> page_shift;
    return map_.totals().locked + more > limit ? status(fail(over)) : status();
}

// Any address and size will do: the end of the pages that hold the last byte. EINVAL.
static expected<vaddr_t> end_of_pages(vaddr_t start, uint64_t size) {
    uint64_t widened = page_round_up(size + start.page_offset());
    if (widened < size || start > user_max || widened > user_max - start.page_down())
        return fail(Errno::inval);
    return start.page_down() + widened;
}

// First the pages are brought in, which may fail and then leaves nothing but pages that are
// resident; then the range is wired; then the mappings of what is resident are entered as wired.
status vmspace::lock_pages(vaddr_t start, uint64_t size, bool on_fault) {
    vaddr_t end = TRY(end_of_pages(start, size));
    start = start.page_down();
    if (start == end)
        return {};
    {
        read_guard guard(map_.lock());
        TRY(check_wirable(start, end));
    }
    if (on_fault) {
        TRY(set_wired(start, end, wiring::on_fault));
    } else {
        TRY(populate(start, end));
        TRY(set_wired(start, end, wiring::at_once));
        // What another thread has taken away meanwhile is wired when it is touched again.
        (void)populate(start, end);
    }
    check_seam();
    return {};
}

// ENOMEM: a hole in the range, or RLIMIT_MEMLOCK.
status vmspace::check_wirable(vaddr_t start, vaddr_t end) const {
    if (!map_.range_mapped(start, end))
        return fail(Errno::nomem);
    uint64_t more = 0;
    for (vm_map_entry* e = map_.lookup(start); e && e->start < end; e = map_.next(*e))
        if (!e->wired_count)
            more += (std::min(end, e->end) - std::max(start, e->start)) >> page_shift;
    return check_memlock(more, Errno::nomem);
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

// ENOMEM as check_wirable(), or no memory to clip with.
status vmspace::set_wired(vaddr_t start, vaddr_t end, wiring how) {
    lock_guard guard(map_.lock());
    if (how != wiring::none)
        TRY(check_wirable(start, end));
    else if (!map_.range_mapped(start, end))
        return fail(Errno::nomem);
    entry_stock stock;
    TRY(stock.reserve(map_.clips_needed(start, end)));

    vm_map_entry* e = map_.clip_range(start, end, stock);
    for (; e && e->start < end; e = map_.next(*e))
        wire_entry(*e, how);
    map_.merge_range(start, end);
    return {};
}

// With on_fault, what is resident already is mapped anew, as wired, when it is touched next.
void vmspace::wire_entry(vm_map_entry& e, wiring how) {
    if (how == wiring::none && e.wired_count)
        unwire_pages(e);
    if (how == wiring::on_fault && !e.wired_count)
        pmap_->remove(e.start, e.end);
    map_.alter(e, [&](vm_map_entry& entry) {
        entry.wired_count = how != wiring::none;
        entry.wired_on_fault = how == wiring::on_fault;
    });
}

// Goes by what is mapped: the entry may be terabytes of which little was ever touched.
void vmspace::unwire_pages(vm_map_entry& e) {
    for_each_mapped_page(e, [&](vaddr_t va, vm_page&, const pmap_mapping& mapping) {
        if (mapping.wired)
            pmap_->unwire(va);
    });
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
        (void)populate(region->start, region->end);
        from = region->end;
    }
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
    if (future_wiring_ == wiring::none)
        return;
    e.wired_count = 1;
    e.wired_on_fault = future_wiring_ == wiring::on_fault;
}

// Whether the pages of the mapping at `at` are wired and to be brought in now.
bool vmspace::is_to_populate(vaddr_t at) const {
    read_guard guard(map_.lock());
    vm_map_entry* e = map_.lookup(at);
    return e && e->wired_count && !e->wired_on_fault;
}

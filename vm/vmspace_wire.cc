// mlock(2), munlock(2): wired memory. Its pages are brought in at once, private ones as the copies
// that a write would make, and stay mapped; a fork copies them at once, so that they never fault.
#include "arch/pmap.h"
#include "vm/vmspace.h"

status vmspace::check_memlock(uint64_t more) const {
    uint64_t limit = limits.memlock.load(std::memory_order_relaxed) >> page_shift;
    return map_.totals().locked + more > limit ? status(fail(Errno::nomem)) : status();
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
status vmspace::lock_pages(vaddr_t start, uint64_t size) {
    vaddr_t end = TRY(end_of_pages(start, size));
    start = start.page_down();
    if (start == end)
        return {};
    {
        read_guard guard(map_.lock());
        TRY(check_wirable(start, end));
    }
    TRY(populate(start, end));
    TRY(set_wired(start, end, true));
    // What another thread has taken away meanwhile is wired when it is touched again.
    (void)populate(start, end);
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
    return check_memlock(more);
}

status vmspace::unlock_pages(vaddr_t start, uint64_t size) {
    vaddr_t end = TRY(end_of_pages(start, size));
    start = start.page_down();
    if (start == end)
        return {};
    status result = set_wired(start, end, false);
    check_seam();
    return result;
}

// ENOMEM as check_wirable(), or no memory to clip with.
status vmspace::set_wired(vaddr_t start, vaddr_t end, bool wired) {
    lock_guard guard(map_.lock());
    if (wired)
        TRY(check_wirable(start, end));
    else if (!map_.range_mapped(start, end))
        return fail(Errno::nomem);
    entry_stock stock;
    TRY(stock.reserve(map_.clips_needed(start, end)));

    vm_map_entry* e = map_.clip_range(start, end, stock);
    for (; e && e->start < end; e = map_.next(*e)) {
        if (!wired && e->wired_count)
            unwire_pages(*e);
        map_.alter(*e, [&](vm_map_entry& entry) { entry.wired_count = wired; });
    }
    map_.merge_range(start, end);
    return {};
}

void vmspace::unwire_pages(vm_map_entry& e) {
    for (vaddr_t va = e.start; va < e.end; va += page_size) {
        auto mapping = pmap_->lookup(va);
        if (mapping && mapping->wired)
            pmap_->unwire(va);
    }
}

#include "vm/vm_map.h"

#include "lib/long_work.h"
#include "vm/phys/event.h"

#include <algorithm>

std::atomic<uint64_t> vm_max_map_count{65'530};

// ---- entry_stock ----------------------------------------------------------------------------

entry_stock::~entry_stock() {
    while (vm_map_entry* entry = entries_.pop_front())
        vm_map_entry_discard(entry);
}

status entry_stock::reserve(size_t count, kind k) {
    for (; count > 0; count--) {
        vm_map_entry* entry = vm_map_entry_create();
        if (!entry)
            return fail(Errno::nomem);
        entries_.push_back(*entry);
        if (k == kind::attachable)
            TRY(entry->aref.prepare());
    }
    return {};
}

vm_map_entry& entry_stock::peek() {
    ASSERT(!entries_.empty());
    return *entries_.front();
}

vm_map_entry& entry_stock::take() {
    vm_map_entry& entry = peek();
    entries_.remove(entry);
    return entry;
}

void release_entries(entry_list& dead) {
    while (vm_map_entry* entry = dead.pop_front()) {
        vm_map_entry_destroy(entry);
        long_work::pause();
    }
}

// ---- Looking ---------------------------------------------------------------------------------

vm_map::~vm_map() {
    lock_guard guard(lock_);
    ASSERT(entries_.empty() && count_ == 0 && sums_.all == 0);
}

vm_map_entry* vm_map::lookup_or_next(vaddr_t va) const {
    vm_map_entry* hint = hint_.load(std::memory_order_relaxed);
    if (hint && hint->contains(va))
        return hint;
    vm_map_entry* entry = tree_.first_ending_above(va);
    if (entry)
        hint_.store(entry, std::memory_order_relaxed);
    return entry;
}

vm_map_entry* vm_map::lookup(vaddr_t va) const {
    vm_map_entry* entry = lookup_or_next(va);
    return entry && entry->contains(va) ? entry : nullptr;
}

bool vm_map::range_free(vaddr_t start, vaddr_t end) const {
    vm_map_entry* entry = lookup_or_next(start);
    return !entry || entry->start >= end;
}

vaddr_t vm_map::first_hole(vaddr_t start, vaddr_t end) const {
    vaddr_t reached = start;
    for (vm_map_entry* e = lookup(start); e && e->start <= reached; e = entries_.next(*e)) {
        reached = e->end;
        if (reached >= end)
            return end;
    }
    return reached;
}

vm_map::overlap vm_map::overlap_with(vaddr_t start, vaddr_t end) const {
    overlap o;
    for (vm_map_entry* e = lookup_or_next(start); e && e->start < end; e = entries_.next(*e)) {
        uint64_t pages = (std::min(end, e->end) - std::max(start, e->start)) >> page_shift;
        o.mapped += pages;
        if (e->charged)
            o.charged += pages;
        if (e->accountable() && !e->grows_down)
            o.data += pages;
        if (e->wired_count)
            o.locked += pages;
    }
    return o;
}

// ---- Changing --------------------------------------------------------------------------------

void vm_map::add_to_sums(const vm_map_entry& e, int sign) {
    uint64_t pages = sign * e.pages(); // unsigned: adding a negative number wraps to the right sum
    sums_.all += pages;
    if (e.grows_down)
        sums_.stack += pages;
    else if (e.accountable())
        sums_.data += pages;
    if (allows(e.protection, vm_prot::execute) && !allows(e.protection, vm_prot::write))
        sums_.text += pages;
    if (!e.copy_on_write)
        sums_.shared += pages;
    if (e.wired_count)
        sums_.locked += pages;
    if (e.charged)
        sums_.charged += pages;
}

void vm_map::insert(vm_map_entry& entry) {
    ASSERT(entry.start >= user_min && entry.end <= user_max && entry.start < entry.end);
    vm_map_entry* after = tree_.first_ending_above(entry.start);
    vm_map_entry* before = after ? entries_.prev(*after) : entries_.back();
    ASSERT(!after || after->start >= entry.end);
    if (after)
        entries_.insert_before(*after, entry);
    else
        entries_.push_back(entry);
    tree_.insert(entry, before, after);
    note_inserted(entry);
}

void vm_map::append(vm_map_entry& entry) {
    ASSERT(entries_.empty() || entries_.back()->end <= entry.start);
    entries_.push_back(entry);
    note_inserted(entry);
}

void vm_map::note_inserted(vm_map_entry& entry) {
    count_++;
    add_to_sums(entry, 1);
    EVENT(map_entry_inserted, .map = this, .entry = &entry, .start = entry.start, .end = entry.end,
          .prot = trace::protection(entry.protection),
          .needs_copy = trace::yes_if(entry.needs_copy));
    if (entry.object)
        EVENT(object_referenced, .object = entry.object.get(), .map = this);
}

void vm_map::remove(vm_map_entry& entry) {
    add_to_sums(entry, -1);
    tree_.remove(entry, entries_.prev(entry), entries_.next(entry));
    entries_.remove(entry);
    count_--;
    if (hint_.load(std::memory_order_relaxed) == &entry)
        hint_.store(nullptr, std::memory_order_relaxed);
    EVENT(map_entry_removed, .map = this, .entry = &entry, .start = entry.start, .end = entry.end);
    if (entry.object)
        EVENT(object_detached, .object = entry.object.get(), .map = this);
}

status vm_map::check_count(uint64_t more) const {
    const uint64_t most = vm_max_map_count.load(std::memory_order_relaxed);
    return count_ + more > most ? status(fail(Errno::nomem)) : status();
}

status vm_map::reserve_clips(vaddr_t start, vaddr_t end, entry_stock& stock, bool removed,
                             uint64_t merged) const {
    vm_map_entry* at_start = lookup(start);
    vm_map_entry* at_end = at_start && at_start->end >= end ? at_start : lookup(end);
    if (at_end && !at_end->contains(end))
        at_end = nullptr;
    const bool first = at_start && at_start->start < start, last = at_end && at_end->start < end;
    const uint64_t clips = unsigned(first) + unsigned(last);
    // A hole in the middle of an entry makes one more of it; otherwise the edges take the places of
    // what they are cut from.
    const uint64_t more = !removed ? clips : first && at_start == at_end;
    if (more > merged)
        TRY(check_count(more - merged));
    return stock.reserve(clips);
}

// Splits `entry` in two at `at`; `entry` stays the lower one.
void vm_map::clip(vm_map_entry& entry, vaddr_t at, entry_stock& stock) {
    ASSERT(entry.start < at && at < entry.end);
    vm_map_entry& upper = stock.take();
    uint64_t lower_size = at - entry.start;
    upper.copy_attributes(entry);
    upper.start = at;
    upper.end = entry.end;
    if (upper.object)
        upper.offset += lower_size;
    entry.aref.split(lower_size >> page_shift, upper.aref);
    alter(entry, [&](vm_map_entry& e) { e.end = at; });
    insert(upper);
    EVENT(map_entry_clipped, .map = this, .entry = &entry, .upper = &upper, .at = at);
}

vm_map_entry* vm_map::clip_range(vaddr_t start, vaddr_t end, entry_stock& stock) {
    vm_map_entry* entry = lookup_or_next(start);
    if (entry && entry->start < start) {
        clip(*entry, start, stock);
        entry = entries_.next(*entry);
    }
    if (!entry || entry->start >= end)
        return nullptr;
    vm_map_entry* last = entry->end >= end ? entry : lookup(end);
    if (last && last->start < end && last->end > end)
        clip(*last, end, stock);
    return entry;
}

bool vm_map::alike_but_attributes(const vm_map_entry& low, const vm_map_entry& high) {
    if (low.end != high.start || low.object != high.object || low.handle != high.handle)
        return false;
    if (low.object && low.offset + low.size() != high.offset)
        return false;
    return low.max_protection == high.max_protection &&
           low.default_inheritance == high.default_inheritance &&
           low.copy_on_write == high.copy_on_write && low.grows_down == high.grows_down &&
           low.no_reserve == high.no_reserve && low.tag == high.tag;
}

bool vm_map::alike(const vm_map_entry& low, const vm_map_entry& high) {
    return static_cast<const vm_attributes&>(low) == high && alike_but_attributes(low, high);
}

bool vm_map::would_merge(const vm_map_entry& low, uint64_t low_pages, const vm_map_entry& high,
                         uint64_t high_pages) {
    if (!alike_but_attributes(low, high))
        return false;
    if (low.aref && high.aref)
        return low.needs_copy == high.needs_copy && low.aref.followed_by(high.aref);
    if (low.aref)
        return low.aref.may_grow_back(high_pages);
    return !high.aref || high.aref.may_grow_front(low_pages);
}

// Makes one entry of two if that can be done, and keeps `low`. An entry that has no amap yet is
// taken into its neighbour's amap if nobody else uses the slots there.
bool vm_map::try_merge(vm_map_entry& low, vm_map_entry& high) {
    if (!alike(low, high))
        return false;
    if (low.aref && high.aref) {
        if (low.needs_copy != high.needs_copy || !low.aref.followed_by(high.aref))
            return false;
        low.aref.join(high.aref);
    } else if (low.aref) {
        if (!low.aref.grow_back(high.pages()))
            return false;
    } else if (high.aref) {
        if (!high.aref.grow_front(low.pages()))
            return false;
        low.aref.take_over(high.aref);
        low.needs_copy = high.needs_copy;
    }
    low.last_fork.keep_later(high.last_fork);
    remove(high);
    alter(low, [&](vm_map_entry& e) { e.end = high.end; });
    if (vm_map_entry* after = entries_.next(low))
        tree_.gap_changed(*after, &low);
    vm_map_entry_discard(&high);
    EVENT(map_entry_merged, .map = this, .entry = &low, .start = low.start, .end = low.end);
    return true;
}

void vm_map::merge_range(vaddr_t start, vaddr_t end) {
    vm_map_entry* entry = lookup_or_next(start);
    if (!entry)
        return;
    if (vm_map_entry* before = entries_.prev(*entry))
        entry = before;
    while (vm_map_entry* after = entries_.next(*entry)) {
        if (after->start > end)
            break;
        long_work::pause();
        if (!try_merge(*entry, *after))
            entry = after;
    }
}

void vm_map::check() const {
    tree_.check();
    size_t count = 0;
    sums expected_sums;
    const vm_map_entry* before = nullptr;
    for (const vm_map_entry& e : entries_) {
        e.check();
        ASSERT(e.start >= user_min && e.end <= user_max);
        ASSERT(!before || before->end <= e.start);
        ASSERT(tree_.first_ending_above(e.start) == &e);
        expected_sums.all += e.pages();
        expected_sums.charged += e.charged ? e.pages() : 0;
        expected_sums.locked += e.wired_count ? e.pages() : 0;
        before = &e;
        count++;
    }
    ASSERT(count == count_);
    ASSERT(expected_sums.all == sums_.all && expected_sums.charged == sums_.charged);
    ASSERT(expected_sums.locked == sums_.locked);
}

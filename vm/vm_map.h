// vm_map: the entries of one address space, in address order, as a list and as a tree.
//
// Owned by a vmspace, one each. The map keeps the order, the gaps, the sums and the hint; what an
// entry means is its vmspace's business.
//
// Lock: lock_ is held shared by faults and other readers, exclusively by whoever changes entries
// (also to clear needs_copy). vm_map is the outermost lock of the VM (lib/lock_rank.h).
//
// Invariants, checked by check(): entries do not overlap, are sorted in list and tree alike, lie
// within [user_min, user_max); gaps and sums are right.
//
// Changing a range never fails half-way: the caller reserves the entries that clipping will need
// in an entry_stock first, and clips, changes and merges then.
#pragma once

#include "arch/memory.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "lib/long_work.h"
#include "lib/no_alloc.h"
#include "vm/vm_map_entry.h"
#include "vm/vm_map_tree.h"

#include <atomic>
#include <optional>

// Entries kept ready for clipping; gives back what was not used.
class entry_stock {
public:
    entry_stock() = default;
    ~entry_stock();
    // Adds `count` entries, ready to be attached to an amap unless they are `bare`. ENOMEM: some
    // may have been added. Does not sleep.
    enum class kind { attachable, bare };
    status reserve(size_t count, kind k = kind::attachable);
    // The entry that take() will return next: it stays the stock's.
    vm_map_entry& peek();
    // An entry for the caller to put into a map.
    vm_map_entry& take();

private:
    entry_list entries_;
};

// Linux's vm.max_map_count: with more entries a map gets no further mapping, and it is not cut up
// beyond that number. What the system does by itself, growing a stack or copying a map for fork,
// is not bound by it.
extern std::atomic<uint64_t> vm_max_map_count;

class vm_map {
public:
    // Sums over the entries, in pages. As Linux counts them: data is private writable memory that
    // is not a stack, text is what can be executed and not written.
    struct sums {
        uint64_t all = 0, data = 0, stack = 0, text = 0, shared = 0, locked = 0, charged = 0;
    };

    vm_map() = default;
    vm_map(const vm_map&) = delete;
    ~vm_map();

    rw_lock& lock() const RETURN_CAPABILITY(lock_) { return lock_; }

    // The entry that `va` lies in, or null.
    vm_map_entry* lookup(vaddr_t va) const REQUIRES_SHARED(lock_);
    // The first entry that ends above `va`: the one it lies in, or the next.
    vm_map_entry* lookup_or_next(vaddr_t va) const REQUIRES_SHARED(lock_);
    vm_map_entry* first() const REQUIRES_SHARED(lock_) { return entries_.front(); }
    vm_map_entry* last() const REQUIRES_SHARED(lock_) { return entries_.back(); }
    vm_map_entry* next(vm_map_entry& e) const REQUIRES_SHARED(lock_) { return entries_.next(e); }
    vm_map_entry* prev(vm_map_entry& e) const REQUIRES_SHARED(lock_) { return entries_.prev(e); }
    bool range_free(vaddr_t start, vaddr_t end) const REQUIRES_SHARED(lock_);
    // Where the first hole of [start, end) is; `end` if there is none.
    vaddr_t first_hole(vaddr_t start, vaddr_t end) const REQUIRES_SHARED(lock_);
    // Whether every page of [start, end) is in some entry.
    bool range_mapped(vaddr_t start, vaddr_t end) const REQUIRES_SHARED(lock_) {
        return first_hole(start, end) == end;
    }
    // The highest address at which `size` bytes are free within [low, high).
    std::optional<vaddr_t> find_space(uint64_t size, vaddr_t low, vaddr_t high) const
        REQUIRES_SHARED(lock_) {
        return tree_.find_space(size, low, high);
    }
    // Pages of [start, end) that are mapped; and of those, what the sums above count.
    struct overlap {
        uint64_t mapped = 0, charged = 0, data = 0, locked = 0;
    };
    overlap overlap_with(vaddr_t start, vaddr_t end) const REQUIRES_SHARED(lock_);

    // The place [entry.start, entry.end) is free.
    void insert(vm_map_entry& entry) REQUIRES(lock_);
    void remove(vm_map_entry& entry) REQUIRES(lock_);
    // For a map that is being filled in order, and known to nobody else: adds an entry behind all
    // others; after the last one finish() makes them found. So a fork's cost by entry is the same,
    // however many there are.
    void append(vm_map_entry& entry) REQUIRES(lock_);
    void finish() REQUIRES(lock_) { tree_.build(entries_, count_); }
    // ENOMEM when the map would have more than vm_max_map_count entries with so many more.
    status check_count(uint64_t more) const REQUIRES_SHARED(lock_);
    // Adds to the stock the entries that clip_range() will take: 0, 1 or 2. ENOMEM; also when the
    // map would have too many then. `removed`: what is in the range will go. `merged`: so many are
    // going to be merged.
    status reserve_clips(vaddr_t start, vaddr_t end, entry_stock& stock, bool removed = false,
                         uint64_t merged = 0) const REQUIRES_SHARED(lock_);
    // The same for who is going to call `change(attributes, entry)` for all in the range, and merge
    // it. As on Linux, a change that cuts here and joins there needs no room for more.
    template <class Change>
    status reserve_change(vaddr_t start, vaddr_t end, entry_stock& stock, Change change) const
        REQUIRES_SHARED(lock_) {
        const uint64_t merged = check_count(2) ? 0 : merged_by(start, end, change);
        return reserve_clips(start, end, stock, false, merged);
    }
    // Splits entries so that one begins at `start` and one ends at `end`, where anything is mapped
    // there. Returns the first entry in the range, or null.
    vm_map_entry* clip_range(vaddr_t start, vaddr_t end, entry_stock& stock) REQUIRES(lock_);
    // Merges the neighbours that touch at an edge in [start, end] and are equal but for their
    // place.
    void merge_range(vaddr_t start, vaddr_t end) REQUIRES(lock_);

    // Whether the two, which touch, differ in nothing but their place and their amaps: to a program
    // they are one mapping.
    static bool alike(const vm_map_entry& low, const vm_map_entry& high);
    // Calls `change(entry)` for an entry of this map whose attributes or size it alters, and keeps
    // the sums right.
    template <class F> void alter(vm_map_entry& entry, F change) REQUIRES(lock_) {
        add_to_sums(entry, -1);
        change(entry);
        add_to_sums(entry, 1);
    }

    size_t entry_count() const REQUIRES_SHARED(lock_) { return count_; }
    const sums& totals() const REQUIRES_SHARED(lock_) { return sums_; }

    // Panics unless the invariants hold. Linear.
    void check() const REQUIRES_SHARED(lock_);

private:
    void note_inserted(vm_map_entry& entry) REQUIRES(lock_);
    void add_to_sums(const vm_map_entry& entry, int sign) REQUIRES(lock_);
    void clip(vm_map_entry& entry, vaddr_t at, entry_stock& stock) REQUIRES(lock_);
    // How many entries there will be less than after the cuts, when [start, end) has been changed.
    template <class Change>
    uint64_t merged_by(vaddr_t start, vaddr_t end, Change change) const REQUIRES_SHARED(lock_);
    static bool alike_but_attributes(const vm_map_entry& low, const vm_map_entry& high);
    // Whether try_merge() would make one of the last pages of `low` and the first of `high`, so many
    // of each, if their attributes were the same.
    static bool would_merge(const vm_map_entry& low, uint64_t low_pages, const vm_map_entry& high,
                            uint64_t high_pages);
    bool try_merge(vm_map_entry& low, vm_map_entry& high) REQUIRES(lock_);

    mutable rw_lock lock_{lock_rank::vm_map, "vm_map"};
    entry_list entries_ GUARDED_BY(lock_);
    vm_map_tree tree_ GUARDED_BY(lock_);
    sums sums_ GUARDED_BY(lock_);
    size_t count_ GUARDED_BY(lock_) = 0;
    // The entry found last. Readers set it side by side; remove() forgets it.
    mutable std::atomic<vm_map_entry*> hint_{nullptr};
};

template <class Change>
uint64_t vm_map::merged_by(vaddr_t start, vaddr_t end, Change change) const {
    auto after = [&](const vm_map_entry& e) {
        vm_attributes a = e;
        if (e.start < end && e.end > start)
            change(a, e);
        return a;
    };
    uint64_t merged = 0;
    for (vm_map_entry* high = lookup_or_next(start); high && high->start <= end;
         high = next(*high)) {
        long_work::pause();
        const vm_attributes high_after = after(*high);
        if (high->start < start || (high->start < end && end < high->end)) // it is cut
            if (high_after == *high)                                       // for nothing
                merged += unsigned(high->start < start) + unsigned(end < high->end);
        vm_map_entry* low = prev(*high);
        if (high->start < start || !low)
            continue;
        const vaddr_t low_start = low->contains(start) ? start : low->start,
                      high_end = high->start < end && end < high->end ? end : high->end;
        merged +=
            after(*low) == high_after && would_merge(*low, (low->end - low_start) >> page_shift,
                                                     *high, (high_end - high->start) >> page_shift);
    }
    return merged;
}

// Gives back the references of entries that are in no map any more, and the entries. May sleep and
// may end objects, so the caller holds no VM lock (uvm_unmap_detach).
NO_ALLOC void release_entries(entry_list& dead);

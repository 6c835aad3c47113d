#include "vm/vm_map_tree.h"

#include "arch/memory.h"
#include "lib/long_work.h"

#include <algorithm>
#include <utility>

// Where the free space below an entry ends: a stack keeps its guard gap for itself.
static vaddr_t space_ends_at(const vm_map_entry& e) {
    if (!e.grows_down)
        return e.start;
    return e.start - user_min > stack_guard_gap ? e.start - stack_guard_gap : user_min;
}

static uint64_t gap_between(const vm_map_entry* before, const vm_map_entry& e) {
    vaddr_t from = before ? before->end : user_min;
    vaddr_t to = space_ends_at(e);
    return to > from ? to - from : 0;
}

static uint64_t largest_of(const vm_map_entry& e, const vm_map_entry* l, const vm_map_entry* r) {
    uint64_t largest = e.gap;
    if (l && l->largest_gap > largest)
        largest = l->largest_gap;
    if (r && r->largest_gap > largest)
        largest = r->largest_gap;
    return largest;
}

bool vm_map_tree::largest_gap::update(vm_map_entry& e, const vm_map_entry* l,
                                      const vm_map_entry* r) {
    const uint64_t before = e.largest_gap, now = largest_of(e, l, r);
    e.largest_gap = now;
    return now != before;
}

bool vm_map_tree::largest_gap::correct(const vm_map_entry& e, const vm_map_entry* l,
                                       const vm_map_entry* r) {
    return e.largest_gap == largest_of(e, l, r);
}

void vm_map_tree::insert(vm_map_entry& entry, const vm_map_entry* before, vm_map_entry* after) {
    entry.gap = gap_between(before, entry);
    tree_.insert_before(after, entry);
    if (after)
        gap_changed(*after, &entry);
}

void vm_map_tree::build(const entry_list& sorted, size_t count) {
    vm_map_entry *at = sorted.front(), *before = nullptr;
    tree_.build(count, [&]() -> vm_map_entry& {
        long_work::pause();
        at->gap = gap_between(before, *at);
        before = std::exchange(at, sorted.next(*at));
        return *before;
    });
}

void vm_map_tree::remove(vm_map_entry& entry, const vm_map_entry* before, vm_map_entry* after) {
    tree_.erase(entry);
    if (after)
        gap_changed(*after, before);
}

void vm_map_tree::gap_changed(vm_map_entry& entry, const vm_map_entry* before) {
    entry.gap = gap_between(before, entry);
    tree_.changed(entry);
}

vm_map_entry* vm_map_tree::first_ending_above(vaddr_t va) const {
    return tree_.first_where([&](const vm_map_entry& e) { return e.end > va; });
}

vm_map_entry* vm_map_tree::first_starting_at(vaddr_t va) const {
    return tree_.first_where([&](const vm_map_entry& e) { return e.start >= va; });
}

// The nearest entry below `entry` whose gap holds `size` bytes.
vm_map_entry* vm_map_tree::below_with_gap(vm_map_entry* entry, uint64_t size) {
    // Up, until an entry to the left qualifies or a subtree to the left holds one that does.
    vm_map_entry* subtree = entry_tree::left(*entry);
    while (!subtree || subtree->largest_gap < size) {
        vm_map_entry* child = entry;
        entry = entry_tree::parent(*entry);
        if (!entry)
            return nullptr;
        if (entry_tree::left(*entry) == child) {
            subtree = nullptr;
            continue;
        }
        if (entry->gap >= size)
            return entry;
        subtree = entry_tree::left(*entry);
    }
    // Down, keeping to the right.
    for (entry = subtree;;) {
        vm_map_entry* right = entry_tree::right(*entry);
        if (right && right->largest_gap >= size)
            entry = right;
        else if (entry->gap >= size)
            return entry;
        else
            entry = entry_tree::left(*entry);
    }
}

std::optional<vaddr_t> vm_map_tree::find_space(uint64_t size, vaddr_t low, vaddr_t high) const {
    // The gap that `high` lies in or bounds may reach above it, so it is looked at by itself.
    // Every gap below it lies below `high` as a whole.
    vm_map_entry* above = first_starting_at(high);
    vm_map_entry* below = above ? entry_tree::prev(*above) : tree_.last();
    vaddr_t from = std::max(low, below ? below->end : user_min);
    vaddr_t to = above ? std::min(high, space_ends_at(*above)) : high;
    if (to > from && to - from >= size)
        return to - size;
    if (!below)
        return std::nullopt;

    vm_map_entry* entry = below->gap >= size ? below : below_with_gap(below, size);
    if (!entry)
        return std::nullopt;
    vaddr_t end = space_ends_at(*entry);
    if (end < low || end - low < size)
        return std::nullopt;
    return end - size;
}

void vm_map_tree::check() const {
    tree_.check();
    const vm_map_entry* before = nullptr;
    for (vm_map_entry* e = tree_.first(); e; before = e, e = entry_tree::next(*e)) {
        ASSERT(!before || before->end <= e->start);
        ASSERT(e->gap == gap_between(before, *e));
    }
}

// mremap(2): a mapping gets another size, another place, or both.
//
// Moving moves entries, not pages: each keeps its amap and its slots, and only the page tables
// are forgotten.
#include "arch/pmap.h"
#include "lib/long_work.h"
#include "vm/uvm_commit.h"
#include "vm/vmspace.h"

using namespace linux_abi;

struct vmspace::move {
    vaddr_t from;
    uint64_t old_size; // pages of these bytes move, as far as new_size reaches
    vaddr_t to;
    bool anywhere; // `to` is yet to be chosen
    uint64_t new_size;
    bool keep_old; // MREMAP_DONTUNMAP: the old place stays mapped, and is empty
};

// To a program the range is one mapping: entries may be several where their amaps differ.
bool vmspace::is_one_mapping(vaddr_t start, vaddr_t end) const {
    vm_map_entry* e = map_.lookup(start);
    while (e && e->end < end) {
        vm_map_entry* following = map_.next(*e);
        if (!following || !vm_map::alike(*e, *following))
            return false;
        e = following;
    }
    return e != nullptr;
}

expected<vaddr_t> vmspace::remap(vaddr_t old_start, uint64_t old_size, uint64_t new_size, int flags,
                                 vaddr_t new_start, bool below_minimum) {
    old_size = page_round_up(old_size);
    new_size = page_round_up(new_size);
    bool fixed = flags & mremap_fixed, may_move = flags & mremap_maymove;
    bool keep_old = flags & mremap_dontunmap;
    if (flags & ~(mremap_fixed | mremap_maymove | mremap_dontunmap))
        return fail(Errno::inval);
    if (((fixed || keep_old) && !may_move) || (keep_old && old_size != new_size))
        return fail(Errno::inval);
    if (!old_start.page_aligned() || new_size == 0 || new_size > user_max - user_min ||
        old_size > user_max - user_min)
        return fail(Errno::inval);
    if (fixed &&
        (!new_start.page_aligned() || new_start > user_max || new_size > user_max - new_start))
        return fail(Errno::inval);
    if (old_start > user_max || old_size > user_max - old_start)
        return fail(old_start < user_max && old_size > new_size ? Errno::inval : Errno::fault);
    // Also where an old size of 0 names one page, which must not go before it is mapped again.
    if (fixed && new_start < old_start + std::max(old_size, page_size) &&
        old_start < new_start + new_size)
        return fail(Errno::inval);
    if (fixed && new_start < mmap_min_addr && !below_minimum)
        return fail(Errno::perm);

    entry_list dead;
    expected<vaddr_t> result = remap_locked({.from = old_start,
                                             .old_size = old_size,
                                             .to = new_start,
                                             .anywhere = !fixed,
                                             .new_size = new_size,
                                             .keep_old = keep_old},
                                            may_move, dead);
    release_entries(dead);
    if (result && is_to_populate(*result))
        (void)populate(*result, *result + new_size);
    if (result)
        hold_wired(*result, *result + new_size);
    check_seam();
    return result;
}

expected<vaddr_t> vmspace::remap_locked(move m, bool may_move, entry_list& dead) {
    lock_guard guard(map_.lock());
    vm_map_entry* first = map_.lookup(m.from);
    if (!first)
        return fail(Errno::fault);
    // An old size of 0 makes a second mapping of a shared object.
    if (m.old_size == 0 && first->copy_on_write)
        return fail(Errno::inval);
    if (m.anywhere && !m.keep_old && m.old_size != 0) {
        if (m.new_size <= m.old_size)
            return shrink_locked(m, dead);
        if (!is_one_mapping(m.from, m.from + m.old_size))
            return fail(Errno::fault);
        if (grow_in_place(m))
            return m.from;
        if (!may_move)
            return fail(Errno::nomem);
    }
    if (!may_move)
        return fail(Errno::nomem);
    uint64_t moved = std::min(m.old_size, m.new_size);
    if (moved && !is_one_mapping(m.from, m.from + m.old_size))
        return fail(Errno::fault);
    if (m.anywhere) {
        auto found = find_space(m.new_size);
        if (!found)
            return fail(Errno::nomem);
        m.to = *found;
    }
    return move_locked(m, dead);
}

expected<vaddr_t> vmspace::shrink_locked(const move& m, entry_list& dead) {
    vaddr_t start = m.from + m.new_size, end = m.from + m.old_size;
    entry_stock stock;
    TRY(map_.reserve_clips(start, end, stock, true));
    if (start < end)
        uvm_commit::uncharge(unmap_locked(start, end, stock, dead));
    return m.from;
}

bool vmspace::grow_in_place(const move& m) {
    vaddr_t end = m.from + m.old_size;
    vm_map_entry* last = map_.lookup(end - page_size);
    if (last->end != end || !space_free(end, m.new_size - m.old_size))
        return false;
    return grow_locked(*last, end, end + (m.new_size - m.old_size)).has_value();
}

// Everything is taken first: room in the limits and in the account for what is new, entries for
// the clips, for what is left behind and for what is added.
expected<vaddr_t> vmspace::move_locked(const move& m, entry_list& dead) {
    uint64_t moved = std::min(m.old_size, m.new_size);
    vaddr_t from_end = m.from + moved, to_end = m.to + m.new_size;
    vm_map_entry* like = map_.lookup(m.from);
    vm_map::overlap replaced = map_.overlap_with(m.to, to_end);
    vm_map::overlap trimmed = map_.overlap_with(from_end, m.from + m.old_size);
    // The old place counts as what is new when it stays; otherwise what is new is what is longer.
    uint64_t added = (m.keep_old ? m.new_size : m.new_size - moved) >> page_shift;
    uint64_t added_data = like->accountable() && !like->grows_down ? added : 0;
    uint64_t gone = replaced.mapped + trimmed.mapped, gone_data = replaced.data + trimmed.data;
    TRY(check_limits(added > gone ? added - gone : 0,
                     added_data > gone_data ? added_data - gone_data : 0));
    if (like->wired_count)
        TRY(check_memlock(added, Errno::again));
    commit_exchange promise;
    TRY(promise.begin(like->charged ? added : 0, replaced.charged + trimmed.charged));

    size_t left_behind = 0;
    if (m.keep_old)
        for (vm_map_entry* e = like; e && e->start < from_end; e = map_.next(*e))
            left_behind++;
    entry_stock stock, addition;
    TRY(map_.check_count(4 + left_behind)); // as Linux: never all of them are needed
    TRY(stock.reserve(5 + left_behind));    // the edges of both places, and of what is cut off
    TRY(addition.reserve(1));

    // From here on nothing fails.
    (void)unmap_locked(m.to, to_end, stock, dead);
    (void)unmap_locked(from_end, m.from + m.old_size, stock, dead);
    promise.finish();
    fill_addition(m, *map_.lookup(m.from), addition.peek());
    entry_list moving;
    if (moved) {
        detach_range(m, stock, moving);
        pmap_->remove(m.from, from_end);
    }
    while (vm_map_entry* e = moving.pop_front()) {
        long_work::pause();
        e->end = m.to + (e->end - m.from);
        e->start = m.to + (e->start - m.from);
        map_.insert(*e);
    }
    if (m.new_size > moved)
        map_.insert(addition.take());
    map_.merge_range(m.from, from_end);
    map_.merge_range(m.to, to_end);
    return m.to;
}

// What the mapping is longer by: its continuation at the new place, or for an old size of 0 the
// whole of a second mapping.
void vmspace::fill_addition(const move& m, const vm_map_entry& like, vm_map_entry& addition) {
    uint64_t moved = std::min(m.old_size, m.new_size);
    addition.copy_attributes(like);
    addition.needs_copy = like.copy_on_write;
    addition.start = m.to + moved;
    addition.end = m.to + m.new_size;
    if (like.object)
        addition.offset = like.offset + (m.from - like.start) + moved;
}

// Takes the entries of the range that moves out of the map; with keep_old, puts untouched ones of
// the same kind in their place.
void vmspace::detach_range(const move& m, entry_stock& stock, entry_list& moving) {
    vaddr_t end = m.from + std::min(m.old_size, m.new_size);
    vm_map_entry* e = map_.clip_range(m.from, end, stock);
    while (e && e->start < end) {
        vm_map_entry* following = map_.next(*e);
        map_.remove(*e);
        moving.push_back(*e);
        if (m.keep_old) {
            vm_map_entry& empty = stock.take();
            empty.copy_attributes(*e);
            empty.needs_copy = empty.copy_on_write;
            empty.wired_count = 0;
            empty.wired_on_fault = false;
            empty.start = e->start;
            empty.end = e->end;
            map_.insert(empty);
        }
        e = following;
    }
}

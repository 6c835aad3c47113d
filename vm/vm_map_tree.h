// The tree of a vm_map's entries: look-up by address and the search for free space, both
// logarithmic.
//
// Each entry knows the free bytes directly below it (`gap`) and the largest such number in the
// subtree under it (`largest_gap`), so a search for space can pass over whole subtrees. The
// space above the last entry belongs to no entry and is looked at by itself.
//
// Not locked; vm_map's lock guards it.
#pragma once

#include "lib/avl_tree.h"
#include "lib/types.h"
#include "vm/vm_map_entry.h"

#include <optional>

// Below a stack that can grow, this much is given to nobody who has not asked for the very place:
// a stack that overruns should meet nothing that is mapped.
inline constexpr uint64_t stack_guard_gap = 256 * page_size;

class vm_map_tree {
public:
    // `before` and `after` are the entry's neighbours in address order, or null.
    void insert(vm_map_entry& entry, const vm_map_entry* before, vm_map_entry* after);
    // Fills the tree, which is empty, with all of a list that is in order. Others get their turn.
    void build(const entry_list& sorted, size_t count);
    void remove(vm_map_entry& entry, const vm_map_entry* before, vm_map_entry* after);
    // To be called when the start of `entry` or the end of `before`, its neighbour, has changed.
    void gap_changed(vm_map_entry& entry, const vm_map_entry* before);

    // The first entry that ends above `va`; that starts at or above it. Null when there is none.
    vm_map_entry* first_ending_above(vaddr_t va) const;
    vm_map_entry* first_starting_at(vaddr_t va) const;
    // The highest address at which `size` bytes are free within [low, high).
    std::optional<vaddr_t> find_space(uint64_t size, vaddr_t low, vaddr_t high) const;

    // Panics unless tree and gaps are right. Linear.
    void check() const;

private:
    struct largest_gap {
        static bool update(vm_map_entry&, const vm_map_entry* left, const vm_map_entry* right);
        static bool correct(const vm_map_entry&, const vm_map_entry* left,
                            const vm_map_entry* right);
    };
    using entry_tree = avl_tree<vm_map_entry, &vm_map_entry::tree_links, largest_gap>;

    static vm_map_entry* below_with_gap(vm_map_entry* entry, uint64_t size);

    entry_tree tree_;
};

#include "kernel/fs/ext2/block_map.h"

#include "lib/long_work.h"
#include "lib/string.h"

#include <algorithm>

using namespace ext2_format;

static_assert(std::atomic<uint32_t>::is_always_lock_free);

void ext2_map::load(const disk_inode& from) {
    for (unsigned i = 0; i < direct_blocks + levels; i++)
        block_[i] = from.block[i];
    sectors_ = from.sectors;
}

void ext2_map::store(disk_inode& to) const {
    for (unsigned i = 0; i < direct_blocks + levels; i++)
        to.block[i] = block_[i];
    to.sectors = sectors_;
}

// As far as the three levels reach, and the count of sectors.
uint64_t ext2_map::most_blocks() const {
    const uint64_t n = numbers();
    const uint64_t reached = direct_blocks + n + n * n + n * n * n;
    const uint64_t for_numbers = reached / n + reached / n / n + 3;
    const uint64_t counted = (uint64_t{1} << 32) / volume_.sectors_per_block();
    return reached + for_numbers < counted ? reached : counted - for_numbers;
}

expected<ext2_map::way> ext2_map::way_to(uint64_t index) const {
    if (index < direct_blocks)
        return way{0, {uint32_t(index)}};
    index -= direct_blocks;
    uint64_t covered = 1; // by one slot of the first block of numbers
    for (unsigned depth = 1; depth <= levels; depth++, covered *= numbers()) {
        if (index >= covered * numbers()) {
            index -= covered * numbers();
            continue;
        }
        way found{depth, {direct_blocks + depth - 1}};
        for (unsigned i = 1; i <= depth; i++, covered /= numbers())
            found.slot[i] = uint32_t(index / covered % numbers());
        return found;
    }
    return fail(Errno::fbig);
}

// Number `slot` in a block of numbers.
expected<uint32_t> ext2_map::pointer(uint32_t block, uint32_t slot) const {
    const buffer b = TRY(volume_.get(block));
    return std::atomic_ref(b.as<uint32_t>()[slot]).load(std::memory_order_acquire);
}

expected<uint32_t> ext2_map::find(uint64_t index) const {
    const way to = TRY(way_to(index));
    uint32_t block = block_[to.slot[0]].load(std::memory_order_acquire);
    for (unsigned i = 1; i <= to.depth && block; i++)
        block = TRY(pointer(block, to.slot[i]));
    if (block && !volume_.holds_data(block))
        return volume_.damaged("a file has an impossible block", block);
    return block;
}

expected<uint32_t> ext2_map::fill(std::atomic_ref<uint32_t> slot, bool for_numbers) {
    const uint32_t block = TRY(volume_.allocate_block(goal_ ? goal_ : volume_.first_goal(inode_)));
    if (for_numbers)
        if (const status begun = volume_.begin_numbers(block); !begun) {
            (void)volume_.free_block(block);
            return fail(begun.error());
        }
    slot.store(block, std::memory_order_release);
    sectors_ += volume_.sectors_per_block();
    goal_ = block + 1;
    return block;
}

expected<uint32_t> ext2_map::make(uint64_t index, bool& fresh) {
    const way to = TRY(way_to(index));
    fresh = false;
    uint32_t block = block_[to.slot[0]];
    if (!block) {
        uint32_t made = 0;
        block = TRY(fill(std::atomic_ref(made), to.depth > 0));
        block_[to.slot[0]].store(block, std::memory_order_release);
        fresh = to.depth == 0;
    }
    for (unsigned i = 1; i <= to.depth; i++) {
        const uint32_t numbers_block = block;
        block = TRY(pointer(numbers_block, to.slot[i]));
        if (block)
            continue;
        const buffer b = TRY(volume_.change(numbers_block));
        block = TRY(fill(std::atomic_ref(b.as<uint32_t>()[to.slot[i]]), i < to.depth));
        fresh = i == to.depth;
    }
    if (!volume_.holds_data(block))
        return volume_.damaged("a file has an impossible block", block);
    if (!fresh)
        goal_ = block + 1;
    return block;
}

// The number goes before the block that it names: a damaged disk may name a block twice, and the second
// time it is found free, which ends the work. It stays where it is if freeing the block fails.
template <class Slot> status ext2_map::free_at(Slot&& slot, bool has_numbers) {
    const uint32_t block = slot.exchange(0);
    if (const status freed = has_numbers ? free_numbers(block) : volume_.free_block(block);
        !freed) {
        if (freed.error() != Errno::uclean)
            slot.store(block, std::memory_order_release);
        return freed;
    }
    const uint32_t each = volume_.sectors_per_block();
    sectors_ -= std::min(each, sectors_.load());
    return {};
}

// What has named it is on its way to the disk before the block is another's.
status ext2_map::free_numbers(uint32_t block) {
    if (ends_)
        return volume_.free_block(block);
    const auto at = TRY(volume_.find_inode(inode_));
    store(*TRY(volume_.change_inode(at)).as<disk_inode>(at.offset));
    return volume_.free_when_safe(block);
}

// Frees what lies below `block`, which has numbers at levels from 1 on, from block `first` of that on.
template <unsigned level> status ext2_map::cut_tree(uint32_t block, uint64_t first) {
    if constexpr (level > 0) {
        uint64_t covered = 1;
        for (unsigned i = 1; i < level; i++)
            covered *= numbers();
        const buffer b = TRY(volume_.change(block));
        auto* slots = b.as<uint32_t>();
        for (uint64_t i = first / covered; i < numbers(); i++) {
            if (slots[i] == 0)
                continue;
            const uint64_t below = i == first / covered ? first % covered : 0;
            TRY(cut_tree<level - 1>(slots[i], below));
            if (below == 0)
                TRY(free_at(std::atomic_ref(slots[i]), level > 1));
        }
        long_work::pause();
    }
    return {};
}

// What block[11 + level] covers begins with the file's block `start`.
template <unsigned level> status ext2_map::cut_level(uint64_t first, uint64_t start) {
    uint64_t covered = 1;
    for (unsigned i = 0; i < level; i++)
        covered *= numbers();
    auto& top = block_[direct_blocks + level - 1];
    if (first >= start + covered || top == 0)
        return {};
    TRY(cut_tree<level>(top, first > start ? first - start : 0));
    return first > start ? status{} : free_at(top, true);
}

status ext2_map::cut(uint64_t first, bool ends) {
    goal_ = 0;
    ends_ = ends;
    for (uint64_t i = first; i < direct_blocks; i++)
        if (block_[i])
            TRY(free_at(block_[i], false));
    const uint64_t n = numbers();
    TRY(cut_level<1>(first, direct_blocks));
    TRY(cut_level<2>(first, direct_blocks + n));
    return cut_level<3>(first, direct_blocks + n + n * n);
}

// Blocks and inodes: which are free, and which one a file gets.
//
// A file's blocks follow each other where they can, and begin in the group of its inode; the inode
// of a file is in its directory's group, that of a directory in the emptiest.
#include "kernel/files/permission.h"
#include "kernel/fs/ext2/volume.h"
#include "lib/long_work.h"
#include "lib/string.h"

#include <bit>

using namespace ext2_format;

namespace {

// The first clear bit from `from` on and before `end`; `end` if there is none.
uint32_t find_clear(const char* map, uint32_t from, uint32_t end) {
    while (from < end) {
        const uint32_t byte = uint8_t(map[from / 8]) >> from % 8;
        const uint32_t ones = uint32_t(std::countr_one(byte));
        if (ones < 8 - from % 8)
            return std::min(from + ones, end);
        from = (from | 7) + 1;
    }
    return end;
}

bool test(const char* map, uint32_t bit) { return map[bit / 8] >> bit % 8 & 1; }
void set(char* map, uint32_t bit) { map[bit / 8] = char(map[bit / 8] | 1 << bit % 8); }
void clear(char* map, uint32_t bit) { map[bit / 8] = char(map[bit / 8] & ~(1 << bit % 8)); }

} // namespace

bool ext2_volume::holds_data(uint32_t block) const {
    if (block <= super_.first_data_block || block >= super_.blocks_count)
        return false;
    const uint32_t group = group_of_block(block), offset = block - group_start(group);
    const group_descriptor& d = descriptors_[group];
    const uint32_t in_block = block_size_ / sizeof(group_descriptor);
    if (has_super(group) && offset < 1 + (groups_ + in_block - 1) / in_block)
        return false;
    return block != d.block_bitmap && block != d.inode_bitmap &&
           (block < d.inode_table || block >= d.inode_table + inode_table_blocks());
}

expected<buffer> ext2_volume::get(uint32_t block) {
    if (!holds_data(block))
        return damaged("a block number is impossible", block);
    return get_any(block);
}

expected<buffer> ext2_volume::change(uint32_t block) {
    if (!holds_data(block))
        return damaged("a block number is impossible", block);
    return change_any(block);
}

expected<buffer> ext2_volume::change_any(uint32_t block) {
    buffer b = TRY(get_any(block));
    b.dirty();
    return b;
}

status ext2_volume::begin_numbers(uint32_t block) {
    TRY(get_new(block));
    return cache_->make_safe(block, block_size_);
}

// ---- Blocks ----------------------------------------------------------------------------------

bool ext2_volume::may_use_reserve() const {
    const file_owner caller = owner_for_caller();
    return caller.uid == 0 || caller.uid == super_.reserved_uid ||
           (super_.reserved_gid && caller.gid == super_.reserved_gid);
}

// 0: there is none in this group.
expected<uint32_t> ext2_volume::take_block_in(uint32_t group, uint32_t from) {
    const buffer map = TRY(change_any(descriptors_[group].block_bitmap));
    uint32_t bit = find_clear(map.data(), from, blocks_in(group));
    if (bit == blocks_in(group))
        bit = find_clear(map.data(), 0, from);
    if (bit == blocks_in(group) || test(map.data(), bit))
        return 0u;
    const uint32_t block = group_start(group) + bit;
    if (!holds_data(block))
        return damaged("a block that is in use is marked as free", block);
    set(map.data(), bit);
    if (descriptors_[group].free_blocks)
        descriptors_[group].free_blocks--;
    if (super_.free_blocks)
        super_.free_blocks--;
    changed_ = true;
    return block;
}

expected<uint32_t> ext2_volume::allocate_block(uint32_t goal) {
    const bool reserve = may_use_reserve();
    lock_guard guard(lock_);
    if (super_.free_blocks <= (reserve ? 0 : super_.reserved_blocks))
        return fail(Errno::nospc);
    if (goal <= super_.first_data_block || goal >= super_.blocks_count)
        goal = super_.first_data_block;
    const uint32_t first = group_of_block(goal);
    for (uint32_t i = 0; i < groups_; i++) {
        long_work::pause();
        const uint32_t group = (first + i) % groups_;
        if (descriptors_[group].free_blocks == 0)
            continue;
        const uint32_t from = i == 0 ? goal - group_start(group) : 0;
        if (const uint32_t block = TRY(take_block_in(group, from)))
            return block;
    }
    return fail(Errno::nospc);
}

status ext2_volume::free_block(uint32_t block) {
    if (!holds_data(block))
        return damaged("a block number is impossible", block);
    cache_->forget(block, block_size_);
    lock_guard guard(lock_);
    return free_locked(block);
}

// The bitmap that has it.
expected<buffer> ext2_volume::taken_block(uint32_t block) {
    const uint32_t group = group_of_block(block);
    buffer map = TRY(change_any(descriptors_[group].block_bitmap));
    if (!test(map.data(), block - group_start(group)))
        return damaged("a block in use is marked as free", block);
    return map;
}

status ext2_volume::free_locked(uint32_t block) {
    const uint32_t group = group_of_block(block);
    clear(TRY(taken_block(block)).data(), block - group_start(group));
    descriptors_[group].free_blocks++;
    super_.free_blocks++;
    changed_ = true;
    return {};
}

status ext2_volume::free_when_safe(uint32_t block) {
    if (!holds_data(block))
        return damaged("a block number is impossible", block);
    cache_->forget(block, block_size_);
    for (;; TRY(sync())) {
        lock_guard guard(lock_);
        TRY(taken_block(block));
        for (uint64_t n = waiting_first_; n < waiting_end_; n++)
            if (waiting_[n % std::size(waiting_)] == block)
                return damaged("a block has two owners", block);
        if (waiting_end_ - waiting_first_ == std::size(waiting_))
            continue;
        waiting_[waiting_end_++ % std::size(waiting_)] = block;
        return {};
    }
}

// Those before number `end`.
status ext2_volume::free_safe(uint64_t end) {
    lock_guard guard(lock_);
    for (; waiting_first_ < end; waiting_first_++)
        if (const status s = free_locked(waiting_[waiting_first_ % std::size(waiting_)]);
            !s && s.error() != Errno::uclean)
            return s;
    return {};
}

void ext2_volume::free_waiting() {
    {
        lock_guard guard(lock_);
        if (waiting_first_ == waiting_end_)
            return;
    }
    (void)sync();
}

// ---- Inodes ----------------------------------------------------------------------------------

uint32_t ext2_volume::group_for_inode(uint32_t parent, bool directory) {
    uint32_t best = group_of_inode(parent);
    if (!directory)
        return best;
    for (uint32_t group = 0; group < groups_; group++) {
        long_work::pause();
        const group_descriptor &here = descriptors_[group], &there = descriptors_[best];
        if (here.free_inodes && here.free_blocks > there.free_blocks)
            best = group;
    }
    return best;
}

expected<uint32_t> ext2_volume::allocate_inode(uint32_t parent, bool directory) {
    lock_guard guard(lock_);
    const uint32_t first = group_for_inode(parent, directory);
    for (uint32_t i = 0; i < groups_; i++) {
        long_work::pause();
        const uint32_t group = (first + i) % groups_;
        group_descriptor& d = descriptors_[group];
        if (d.free_inodes == 0)
            continue;
        const buffer map = TRY(change_any(d.inode_bitmap));
        const uint32_t bit = find_clear(map.data(), 0, super_.inodes_per_group);
        if (bit == super_.inodes_per_group)
            continue;
        const uint32_t number = group * super_.inodes_per_group + bit + 1;
        if (number < first_inode_)
            return damaged("an inode that is in use is marked as free", number);
        set(map.data(), bit);
        d.free_inodes--;
        d.directories = uint16_t(d.directories + directory);
        if (super_.free_inodes)
            super_.free_inodes--;
        changed_ = true;
        return number;
    }
    return fail(Errno::nospc);
}

status ext2_volume::free_inode(uint32_t number, bool directory) {
    const uint32_t group = group_of_inode(number);
    const uint32_t bit = (number - 1) % super_.inodes_per_group;
    lock_guard guard(lock_);
    group_descriptor& d = descriptors_[group];
    const buffer map = TRY(change_any(d.inode_bitmap));
    if (!test(map.data(), bit))
        return damaged("an inode in use is marked as free", number);
    clear(map.data(), bit);
    d.free_inodes++;
    if (d.directories)
        d.directories = uint16_t(d.directories - directory);
    super_.free_inodes++;
    changed_ = true;
    return {};
}

expected<ext2_volume::inode_place> ext2_volume::find_inode(uint32_t number) const {
    if (number == 0 || number > super_.inodes_count ||
        (number != root_inode && number < first_inode_))
        return fail(Errno::inval);
    const uint64_t offset = uint64_t{(number - 1) % super_.inodes_per_group} * inode_size_;
    const uint32_t table = descriptors_[group_of_inode(number)].inode_table;
    return inode_place{uint32_t(table + offset / block_size_), uint32_t(offset % block_size_)};
}

// ext2_volume: what an ext2 has on its disk beside files: super block, groups, and which blocks and
// inodes are taken.
//
// Super block and descriptors are kept in memory, and go into their blocks by store(); bitmaps are
// only in their blocks. The one lock, of rank block_groups, is taken by whoever allocates or frees, and
// no other lock of ext2's is taken under it.
#pragma once

#include "kernel/fs/buffer.h"
#include "kernel/fs/ext2/format.h"
#include "lib/disk.h"
#include "lib/lock.h"
#include "vm/phys/pool.h"

class ext2_volume {
public:
    ext2_volume() = default;
    ext2_volume(const ext2_volume&) = delete;
    ~ext2_volume() {
        if (cache_)
            cache_->closed();
    }
    // Reads super block and descriptors, and checks them. EINVAL: it is no ext2, one that has what is
    // not known here, or a damaged one; EROFS: one that may only be read; EIO ENOMEM. The log says
    // what was not liked, unless it is no ext2 at all.
    status open(disk& d, bool read_only);
    // From now on it is changed, or is not any more: the mark of a clean one goes, or comes back. EIO
    // EROFS (as open()).
    status begin_changes();
    status end_changes();
    // Everything that was changed is on the disk, and safe. EIO.
    status sync();

    // A file's block that holds names or numbers of blocks: to be read, or changed. EUCLEAN: there is
    // none with that number, or it is no file's. EIO ENOMEM.
    expected<buffer> get(uint32_t block);
    expected<buffer> change(uint32_t block);
    // A block that has been allocated, all zeros.
    expected<buffer> get_new(uint32_t block) { return cache_->get_new(block, block_size_); }
    // A block that has been allocated for numbers: zeros, on the disk, too, before anything names it. What it held
    // before is no numbers, and e2fsck takes a file's inode away that leads to many impossible ones. EIO ENOMEM.
    status begin_numbers(uint32_t block);
    // Whether the block may belong to a file.
    bool holds_data(uint32_t block) const;

    // A block, near `goal` if possible. The last ones are the superuser's. ENOSPC EIO ENOMEM EUCLEAN.
    expected<uint32_t> allocate_block(uint32_t goal) EXCLUDES(lock_);
    // EUCLEAN: it is free, or no file's; EIO ENOMEM.
    status free_block(uint32_t block) EXCLUDES(lock_);
    // The same of one that has numbers, by who has changed what named it: in the cache, that is. It stays taken until
    // sync() has made that safe; else an inode of before a power cut might lead to another file's bytes as numbers.
    status free_when_safe(uint32_t block) EXCLUDES(lock_);
    // What waits for that is free then.
    void free_waiting() EXCLUDES(lock_);
    // An inode, near the directory `parent`. ENOSPC EIO ENOMEM EUCLEAN.
    expected<uint32_t> allocate_inode(uint32_t parent, bool directory) EXCLUDES(lock_);
    status free_inode(uint32_t number, bool directory) EXCLUDES(lock_);
    // Where to look first for blocks of a file.
    uint32_t first_goal(uint32_t inode) const { return group_start(group_of_inode(inode)); }

    // Where an inode is: `offset` bytes into a block that get_inode() or change_inode() has. EINVAL:
    // there is none with that number.
    struct inode_place {
        uint32_t block, offset;
    };
    expected<inode_place> find_inode(uint32_t number) const;
    expected<buffer> get_inode(inode_place at) { return cache_->get(at.block, block_size_); }
    expected<buffer> change_inode(inode_place at) { return change_any(at.block); }
    uint32_t inode_size() const { return inode_size_; }
    uint32_t new_generation() { return generation_.fetch_add(1); }

    // A number on the disk is wrong: it is told, and the disk marked, so that e2fsck looks at it. For
    // `return damaged(...)`: EUCLEAN.
    std::unexpected<Errno> damaged(const char* what, uint64_t number);
    void note_large_file();

    disk& device() const { return *disk_; }
    uint32_t block_size() const { return block_size_; }
    uint32_t sectors_per_block() const { return block_size_ / sector_size; }
    uint32_t first_inode() const { return first_inode_; }
    bool has_file_types() const { return super_.incompatible & ext2_format::incompat_filetype; }
    struct counts {
        uint64_t blocks, free_blocks, reserved_blocks, inodes, free_inodes;
    };
    counts count() EXCLUDES(lock_);
    // The first of the list of inodes that are open without a name.
    uint32_t first_orphan() EXCLUDES(lock_);
    void set_first_orphan(uint32_t inode) EXCLUDES(lock_);

private:
    // Of any block, metadata that is no file's, too.
    expected<buffer> get_any(uint32_t block) { return cache_->get(block, block_size_); }
    expected<buffer> change_any(uint32_t block);
    status check_super();
    status check_features(bool read_only);
    status read_descriptors();
    status check_descriptor(uint32_t group);
    status store() EXCLUDES(lock_);
    status store_locked() REQUIRES(lock_);
    uint32_t group_start(uint32_t group) const {
        return super_.first_data_block + group * super_.blocks_per_group;
    }
    uint32_t blocks_in(uint32_t group) const;
    uint32_t group_of_block(uint32_t block) const {
        return (block - super_.first_data_block) / super_.blocks_per_group;
    }
    uint32_t group_of_inode(uint32_t inode) const { return (inode - 1) / super_.inodes_per_group; }
    uint32_t inode_table_blocks() const;
    bool has_super(uint32_t group) const;
    bool may_use_reserve() const;
    expected<uint32_t> take_block_in(uint32_t group, uint32_t from) REQUIRES(lock_);
    expected<buffer> taken_block(uint32_t block) REQUIRES(lock_);
    status free_locked(uint32_t block) REQUIRES(lock_);
    status free_safe(uint64_t end) EXCLUDES(lock_);
    uint32_t group_for_inode(uint32_t parent, bool directory) REQUIRES(lock_);

    disk* disk_ CONSTANT_ONCE_SHARED = nullptr;
    buffer_cache* cache_ CONSTANT_ONCE_SHARED = nullptr;
    uint32_t block_size_ CONSTANT_ONCE_SHARED = 0, first_inode_ CONSTANT_ONCE_SHARED = 0;
    uint32_t inode_size_ CONSTANT_ONCE_SHARED = 0, groups_ CONSTANT_ONCE_SHARED = 0;
    std::atomic<uint32_t> generation_{1};
    sleep_lock lock_{lock_rank::block_groups, "ext2 groups"};
    // Of these only the counts change, the state, and large_file; under lock_.
    ext2_format::super_block super_ GUARD_UNCHECKED("what changes of it: lock_"){};
    kmem_array<ext2_format::group_descriptor> descriptors_ GUARD_UNCHECKED("likewise");
    uint16_t state_at_mount_ CONSTANT_ONCE_SHARED = 0;
    bool changed_ GUARDED_BY(lock_) = false;
    std::atomic<bool> damage_told_{false};
    // Blocks that free_when_safe() has got, numbers waiting_first_ to waiting_end_.
    uint32_t waiting_[64] GUARDED_BY(lock_) = {};
    uint64_t waiting_first_ GUARDED_BY(lock_) = 0, waiting_end_ GUARDED_BY(lock_) = 0;
};

// ext2_map: which blocks of the disk a file's blocks are.
//
//     block[0..11]          the first twelve
//     block[12] -> numbers  the next block_size / 4
//     block[13] -> -> numbers, block[14] -> -> -> numbers; 0: a hole, at any level
//
// Numbers are read without a lock, so that who writes pages out never waits for somebody who wants
// memory. The lock is for who changes them: callers hold it for make() and cut(), and keep readers
// of what is cut away.
#pragma once

#include "kernel/fs/ext2/volume.h"

class ext2_map {
public:
    explicit ext2_map(ext2_volume& volume, uint32_t inode) : volume_(volume), inode_(inode) {}
    void load(const ext2_format::disk_inode& from);
    void store(ext2_format::disk_inode& to) const;

    // How many blocks a file may have.
    uint64_t most_blocks() const;
    // The block for block `index` of the file; 0: a hole. EUCLEAN EIO; EFBIG.
    expected<uint32_t> find(uint64_t index) const;
    // The same, and where there is a hole a block is allocated. `fresh`: it was; what it holds is
    // anything. ENOSPC ENOMEM.
    expected<uint32_t> make(uint64_t index, bool& fresh) REQUIRES(lock);
    // Frees all blocks from `first` on; `ends`: of a file that has no name any more. EUCLEAN EIO ENOMEM: some may
    // be left, and it may be called again.
    status cut(uint64_t first, bool ends = false) REQUIRES(lock);

    uint32_t sectors() const { return sectors_.load(std::memory_order_relaxed); }
    uint32_t first_word() const { return block_[0].load(); }
    void set_first_words(uint32_t a, uint32_t b) {
        block_[0] = a;
        block_[1] = b;
    }

    sleep_lock lock{lock_rank::block_map, "ext2 block map"};

private:
    // The way to a block: a slot in block_, then one in each block of numbers.
    struct way {
        unsigned depth; // blocks of numbers
        uint32_t slot[1 + ext2_format::levels];
    };
    expected<way> way_to(uint64_t index) const;
    expected<uint32_t> pointer(uint32_t block, uint32_t slot) const;
    uint32_t numbers() const { return volume_.block_size() / sizeof(uint32_t); }
    // Allocates what `slot` is to have: a block of zeros if it is for numbers. `near`: a goal.
    expected<uint32_t> fill(std::atomic_ref<uint32_t> slot, bool for_numbers) REQUIRES(lock);
    template <class Slot> status free_at(Slot&& slot, bool has_numbers) REQUIRES(lock);
    status free_numbers(uint32_t block) REQUIRES(lock);
    template <unsigned level> status cut_tree(uint32_t block, uint64_t first) REQUIRES(lock);
    template <unsigned level> status cut_level(uint64_t first, uint64_t start) REQUIRES(lock);

    ext2_volume& volume_;
    const uint32_t inode_;
    std::atomic<uint32_t> block_[ext2_format::direct_blocks + ext2_format::levels]{};
    std::atomic<uint32_t> sectors_{0};
    uint32_t goal_ GUARDED_BY(lock) = 0; // where the next block is looked for
    bool ends_ GUARDED_BY(lock) = false;
};

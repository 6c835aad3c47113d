// Partition tables: MBR, with the chain of extended boot records, and GPT (UEFI 2.10, chapter 5).
//
// What is on a disk is anybody's. Reading ends whatever it says, and no partition that comes of it
// overlaps another one or leaves the disk.
#pragma once

#include "lib/result.h"

#include <cstdint>

// Where the blocks come from. The tests have one in memory.
class block_reader {
public:
    // Blocks that lie on the disk and fill a page at most; theirs until the next read.
    virtual expected<const uint8_t*> read(uint64_t block, unsigned count) = 0;

protected:
    ~block_reader() = default;
};

struct partition_table {
    static constexpr unsigned most = 15; // Linux's number for a virtio disk
    struct entry {
        unsigned number; // as in its name: an MBR's first logical one is 5
        uint64_t first, blocks;
        uint64_t end() const { return first + blocks; }
    };
    entry entries[most];
    unsigned count = 0;
    unsigned refused = 0; // entries that overlap an earlier one or leave the disk

    // Adds one unless it is refused, or `number` is too great.
    void add(unsigned number, uint64_t first, uint64_t blocks, uint64_t from, uint64_t until);
};

// The partitions of a disk of so many blocks; none where there is no table. EIO: it could not be
// read; and whatever else the reader says.
expected<partition_table> read_partitions(block_reader& disk, uint64_t blocks, uint32_t block_size);

// ext2_directory: the entries of one directory. Made for an operation, by who holds the file system's
// names: shared to look, alone to change.
//
//     one block:  | inode length name_length type | name... | next entry ...          | last one |
//                 |<-------------- length ------------------>|   reaches to the block's end      |
//
// A removed entry becomes part of the one before it, or has inode 0 if it is its block's first. A new
// one goes where an entry is longer than its name needs.
#pragma once

#include "kernel/fs/ext2/block_map.h"

#include <string_view>

class dir_sink;

class ext2_directory {
public:
    // `last`: a word of the directory's, for the block in which a name was found last. Who goes through a
    // directory, as ls and rm do, finds the next one there.
    ext2_directory(ext2_volume& volume, ext2_map& map, std::atomic<uint64_t>& size,
                   std::atomic<uint32_t>& last)
        : volume_(volume), map_(map), size_(size), last_(last) {}

    // Where an entry is.
    struct place {
        uint32_t block, offset;
        uint32_t inode;
    };
    // What find() saw on its way: an entry that has room for another name.
    struct room {
        uint32_t block = 0, offset = 0; // 0: none has
    };

    // ENOENT; EUCLEAN EIO ENOMEM EINTR, as all of these.
    expected<place> find(std::string_view name, room* for_name = nullptr);
    // A name of the inode: `out` holds name_max + 1 bytes.
    status name_of(uint32_t inode, char* out);
    expected<bool> empty();
    // As vnode::read_directory(); a position is an offset.
    status list(uint64_t& position, dir_sink& sink);

    // The name is not there: find() has seen it, and the room. ENOSPC.
    status add(std::string_view name, room there, uint32_t inode, uint32_t mode);
    // These two cannot fail while the block of the place is held to be changed.
    status remove(const place& at);
    // Another inode gets the name.
    status point(const place& at, uint32_t inode, uint32_t mode);
    // "." and "..", the first entries of a new one. ENOSPC.
    status begin(uint32_t self, uint32_t parent);

private:
    // Calls visit(place, entry, block of the directory) for each entry of blocks [first, end) until it
    // returns false.
    template <class Visit> status for_each(uint64_t first, uint64_t end, Visit visit);
    template <class Visit> status for_each(Visit visit) { return for_each(0, UINT64_MAX, visit); }
    // From a position that is a multiple of a block's size.
    expected<buffer> append_block();
    void put(ext2_format::directory_entry& e, std::string_view name, uint32_t inode, uint32_t mode);

    ext2_volume& volume_;
    ext2_map& map_;
    std::atomic<uint64_t>& size_;
    std::atomic<uint32_t>& last_;
};

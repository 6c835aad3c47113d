// ext2 on the disk: revision 1, as mke2fs makes it. All numbers are little-endian, as this machine's.
//
//     byte 1024   super block: block 1 of 1 KiB, in block 0 of larger ones
//     the next    group descriptors, one for each group of 8 * block size blocks
//     in a group  (copies of both in some groups) block bitmap, inode bitmap, inode table, data
//
// What is read from a disk is anybody's: nothing of it is used before it has been checked, and the
// checks are where it is read (ext2::mount, ext2_node::load, next_entry).
#pragma once

#include <cstddef>
#include <cstdint>

namespace ext2_format {

inline constexpr uint64_t super_offset = 1024;
inline constexpr uint16_t magic = 0xef53;
inline constexpr uint32_t root_inode = 2;
inline constexpr uint32_t first_inode_of_revision_0 = 11;

enum state : uint16_t { state_clean = 1, state_errors = 2, state_orphans = 4 };

// Whoever does not know one of these does not change the file system. Others that there are (has_journal,
// ext_attr, resize_inode, dir_index) may be unknown.
enum compatible : uint32_t { compat_has_journal = 4 };
// ... does not read it, either.
enum incompatible : uint32_t { incompat_filetype = 2, incompat_recover = 4 };
// ... only reads it.
enum read_only_compatible : uint32_t { ro_compat_sparse_super = 1, ro_compat_large_file = 2 };

struct super_block {
    uint32_t inodes_count, blocks_count, reserved_blocks, free_blocks;
    uint32_t free_inodes, first_data_block, log_block_size, log_fragment_size;
    uint32_t blocks_per_group, fragments_per_group, inodes_per_group;
    uint32_t mount_time, write_time;
    uint16_t mount_count;
    int16_t most_mounts;
    uint16_t magic, state, errors, minor_revision;
    uint32_t last_check, check_interval, creator, revision;
    uint16_t reserved_uid, reserved_gid;
    // From revision 1 on.
    uint32_t first_inode;
    uint16_t inode_size, this_group;
    uint32_t compatible, incompatible, read_only_compatible;
    uint8_t uuid[16];
    char label[16], last_mounted[64];
    uint32_t compression;
    uint8_t preallocate, preallocate_directories;
    uint16_t reserved_gdt_blocks;
    uint8_t journal_uuid[16];
    uint32_t journal_inode, journal_device;
    uint32_t last_orphan; // the first inode without a name that is still open
    uint32_t unused[197];
};
static_assert(sizeof(super_block) == 1024);
static_assert(offsetof(super_block, magic) == 56 && offsetof(super_block, first_inode) == 84);
static_assert(offsetof(super_block, last_orphan) == 232);

struct group_descriptor {
    uint32_t block_bitmap, inode_bitmap, inode_table; // blocks
    uint16_t free_blocks, free_inodes, directories, flags;
    uint32_t unused[3];
};
static_assert(sizeof(group_descriptor) == 32);

inline constexpr unsigned direct_blocks = 12;
inline constexpr unsigned levels = 3; // of indirect blocks: block[12], [13], [14]

struct disk_inode {
    uint16_t mode, uid_low;
    uint32_t size_low, atime, ctime, mtime;
    uint32_t dtime; // when it was deleted; of one that is open without a name: the next such inode
    uint16_t gid_low, links;
    uint32_t sectors; // of 512 bytes that it takes, indirect blocks counted
    uint32_t flags, version;
    uint32_t block[direct_blocks + levels]; // of a device: its number; of a short link: its text
    uint32_t generation;
    uint32_t attributes_block; // extended attributes
    uint32_t size_high;        // of a regular file
    uint32_t fragment;
    uint8_t fragment_number, fragment_size;
    uint16_t unused, uid_high, gid_high;
    uint32_t unused_either;
};
static_assert(sizeof(disk_inode) == 128);
static_assert(offsetof(disk_inode, block) == 40 && offsetof(disk_inode, uid_high) == 120);

inline constexpr size_t short_link =
    sizeof(disk_inode::block); // a text that is shorter lies in the inode

enum inode_flag : uint32_t { flag_immutable = 0x10, flag_append = 0x20, flag_index = 0x1000 };

// A name. Entries fill each block of a directory without a gap, and none lies in two.
struct directory_entry {
    uint32_t inode;  // 0: there is none
    uint16_t length; // to the next entry: a multiple of 4
    uint8_t name_length;
    uint8_t type; // file_type, with incompat_filetype; else 0
    char* name() { return reinterpret_cast<char*>(this + 1); }
};
static_assert(sizeof(directory_entry) == 8);
constexpr uint32_t entry_size(size_t name_length) {
    return uint32_t(sizeof(directory_entry) + name_length + 3) & ~3u;
}

enum file_type : uint8_t {
    type_unknown,
    type_regular,
    type_directory,
    type_character,
    type_block,
    type_fifo,
    type_socket,
    type_symlink
};

inline constexpr uint32_t most_links = 32000;

} // namespace ext2_format

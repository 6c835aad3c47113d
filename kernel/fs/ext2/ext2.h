// ext2: files that last.
//
//     ext2_volume (volume.h)        super block, groups, what is free     super.cc groups.cc
//     ext2_map (block_map.h)        a file's blocks                       block_map.cc
//     ext2_directory (directory.h)  the entries of a directory            directory.cc
//     ext2_node                     a file: its inode, names and bytes    inode.cc names.cc rename.cc file.cc
//     ext2                          the mount: which nodes are in memory  ext2.cc
//
// A node is in memory while somebody refers to it, and some time longer: ext2 itself refers to each
// that has a name, and lets go of those that were not used for long. What has no name any more is
// freed when nobody refers to it (reap()), and is on the disk's list of orphans until then.
//
// Names are changed in their blocks at once; an inode goes into its block when somebody wants it on the
// disk (sync, fsync), or lets go of it. Locks: ext2::names_ guards all names of the file system, as
// tmpfs's does; then vnode::lock(); then ext2_map::lock of one file, and ext2_volume's (docs/locks.md).
#pragma once

#include "kernel/files/vnode.h"
#include "kernel/fs/ext2/block_map.h"
#include "kernel/fs/ext2/directory.h"
#include "kernel/fs/ext2/volume.h"
#include "lib/list.h"
#include "vm/uvm_vnode.h"

class ext2;
class pipe_channel;

class ext2_node final : public vnode, private page_store {
public:
    // Of the inode as it is on the disk. EUCLEAN: it cannot be one; EIO: it has been deleted, and is no
    // orphan that is to be freed. EINVAL ENOMEM.
    static expected<ref_ptr<ext2_node>> load(ext2& fs, uint32_t number, bool orphan = false);
    // Of a new one, which has been allocated. ENOMEM ENOSPC EIO.
    static expected<ref_ptr<ext2_node>> make(ext2& fs, uint32_t number, const new_node& is);
    ext2_node(ext2& fs, uint32_t number, const new_node& is);
    ~ext2_node() override;
    void last_reference_gone() override;

    vattr attributes() override;
    expected<ref_ptr<vnode>> lookup(std::string_view name) override;
    expected<ref_ptr<vnode>> create_nameless(const new_node& is) override;
    status enter(std::string_view name, vnode& nameless) override;
    status link(std::string_view name, vnode& target) override;
    status remove(std::string_view name, bool directory) override;
    status rename(std::string_view name, vnode& to, std::string_view to_name,
                  uint32_t flags) override;
    status read_directory(uint64_t& position, dir_sink& sink) override;
    ref_ptr<vnode> parent() override;
    expected<ref_ptr<vnode>> name_in_parent(char* out) override;
    status mount_here(mount_point& m) override;
    expected<size_t> read_link(char* out, size_t size) override;
    expected<ref_ptr<file>> open(uint32_t flags) override;
    ref_ptr<uvm_pages> memory() override { return memory_; }
    status truncate(uint64_t size) override;
    status sync(bool data_only) override;

    ext2& fs() const { return ext2_; }
    uint32_t number() const { return uint32_t(inode()); }

    // Puts the inode into its block, if it has changed. EIO ENOMEM.
    status store() EXCLUDES(map_.lock);
    // What of it is not on the disk goes into its blocks: pages are written, the inode stored. EIO ENOMEM; EINTR
    // unless `whole`.
    status write_back(bool whole = false);
    // Frees the blocks of a regular file that lie past its end.
    void trim() EXCLUDES(lock());
    // The same, if a cut has failed half-way: before the file grows over what is left there. EIO ENOMEM.
    status end_cut() EXCLUDES(lock());

private:
    friend class ext2;
    friend struct ext2_rename;

    ext2_directory entries();
    bool removed() const { return links_ == 0; } // names_ held
    expected<ext2_node*> own(vnode& node);       // EXDEV
    status may_change() const;                   // EPERM: its flags forbid it
    // Whether `victim`, an entry of this directory, may lose its name. names_ held alone.
    status may_remove(ext2_node& victim, bool directory);
    // The node has lost a name in `directory`, its only one if it is a directory. names_ held alone.
    void lose_name(ext2_node& directory);
    // names_ held. EIO ENOMEM EINTR.
    expected<bool> within(const ext2_node& ancestor);

    status check(const ext2_format::disk_inode& is, bool orphan);
    void take(const ext2_format::disk_inode& is);
    void fill(ext2_format::disk_inode& to);
    status make_memory(uint64_t size);
    status put_target(std::string_view text);
    status drop_attributes();
    status erase(); // blocks and inode; nobody else knows it. EIO; ENOMEM: again
    void destroy();

    status read_pages(uint64_t first, std::span<vm_page* const> pages) override;
    status write_pages(uint64_t first, std::span<const dirty_page> pages) override;
    status allocate(uint64_t start, uint64_t end) override;
    status make_blocks(uint64_t start, uint64_t end); // for bytes
    status fill_last_page(uint64_t end);
    status cut_blocks() REQUIRES(lock()); // what lies past the end
    uint64_t most_bytes() const { return map_.most_blocks() * block_size(); }
    uint32_t block_size() const;

    ext2& ext2_;
    // Under ext2::nodes_lock_.
    list_node in_bucket_, by_age_, among_dead_;
    ref_ptr<ext2_node> kept_; // itself, while ext2 refers to it
    uint32_t last_turn_ = 0;  // ext2::turn_ of the last walk that came by
    ext2_map map_;
    // Under fs().names_, alone to change.
    uint32_t links_ = 0;
    // Of one without a name: the next orphan, under ext2::orphans_lock_; once it is freed, when that was.
    std::atomic<uint32_t> deletion_{0};
    list_node among_orphans_;           // under ext2::orphans_lock_
    ref_ptr<ext2_node> former_parent_;  // of a removed directory
    std::atomic<uint64_t> size_{0};     // of a directory or a symbolic link
    std::atomic<uint32_t> found_in_{0}; // the directory in which it was found last
    std::atomic<uint32_t> last_block_{
        0};                          // of a directory: in which of its blocks a name was found last
    std::atomic<bool> uncut_{false}; // blocks may lie past the end; changed under lock()
    uint32_t generation_ = 0, flags_ = 0, attributes_block_ = 0;
    ref_ptr<uvm_vnode> memory_;  // of a regular file
    ref_ptr<pipe_channel> fifo_; // made at the first open; under lock()
};

class ext2 final : public file_system {
public:
    // What is on `d`. EINVAL EUCLEAN EROFS EIO ENOMEM, as ext2_volume::open().
    static expected<ext2*> mount(disk& d, bool read_only);
    ext2() : file_system("ext2") {}
    void destroy() override;
    status become_writable() override;  // EROFS EIO
    status become_read_only() override; // EBUSY EIO
    // All that has been changed is on the disk, and safe. EIO ENOMEM.
    status sync() override;
    status set_options(char* options) override { // it has none
        return *options ? fail(Errno::inval) : status{};
    }
    // The same of inodes and names alone.
    status sync_metadata();

    ref_ptr<vnode> root() override { return root_; }
    uint64_t magic() const override { return ext2_format::magic; }
    bool busy(unsigned root_references) override;
    space get_space() override;

    ext2_volume& volume() { return volume_; }
    rw_lock& names_lock() RETURN_CAPABILITY(names_) { return names_; }

    // The node of an inode. As ext2_node::load().
    expected<ref_ptr<ext2_node>> node(uint32_t number);
    // Frees what has no name any more and nobody uses. Sleeps; no lock of rank orphans or behind it is
    // held.
    void reap();

private:
    friend class ext2_node;
    friend struct ext2_rename;
    static constexpr unsigned buckets = 256;
    using bucket = list<ext2_node, &ext2_node::in_bucket_>;

    status open(disk& d, bool read_only);
    void let_all_go();
    void let_dead_go();
    status write_all(bool whole);
    status end_writing(bool whole); // whole: also when the caller is to die
    bucket& bucket_of(const ext2_node& n) REQUIRES(nodes_lock_) {
        return nodes_[n.number() % buckets];
    }
    ref_ptr<ext2_node> find(uint32_t number) REQUIRES(nodes_lock_);
    void insert(ext2_node& node) REQUIRES(nodes_lock_);
    void remove(ext2_node& node) REQUIRES(nodes_lock_);
    // From now on ext2 refers to it, or does so no more: the reference is the caller's to drop.
    void keep(ext2_node& node);
    [[nodiscard]] ref_ptr<ext2_node> let_go(ext2_node& node);
    // Lets go of nodes that nobody uses while there are more than there should be.
    void evict();
    ref_ptr<ext2_node> oldest_unused() EXCLUDES(nodes_lock_);
    void evict_one(const ref_ptr<ext2_node>& node);
    // Calls visit(node) for each node in memory.
    template <class Visit> void for_each_node(Visit visit) EXCLUDES(walk_);
    expected<ref_ptr<ext2_node>> new_node_in(ext2_node& directory, const new_node& is);
    void add_orphan(ext2_node& node) EXCLUDES(orphans_lock_);
    status remove_orphan(ext2_node& node) EXCLUDES(orphans_lock_);
    status free_left_orphans();

    ext2_volume volume_;
    rw_lock names_{lock_rank::directory, "ext2 names"};
    ref_ptr<ext2_node> root_ CONSTANT_ONCE_SHARED;
    spin_lock nodes_lock_{lock_rank::attributes, "ext2 nodes"};
    bucket nodes_[buckets] GUARDED_BY(nodes_lock_);
    list<ext2_node, &ext2_node::by_age_> by_age_
        GUARDED_BY(nodes_lock_); // all, the least used first
    uint64_t count_ GUARDED_BY(nodes_lock_) = 0;
    list<ext2_node, &ext2_node::among_dead_> dead_ GUARDED_BY(nodes_lock_); // nobody refers to them
    sleep_lock orphans_lock_{lock_rank::orphans, "ext2 orphans"};
    list<ext2_node, &ext2_node::among_orphans_> orphans_ GUARDED_BY(orphans_lock_);
    // Who goes through the nodes has references meanwhile that make no mount busy.
    sleep_lock walk_{lock_rank::node_walk, "ext2 walk"};
    uint32_t turn_ GUARDED_BY(walk_) = 0;
};

inline uint32_t ext2_node::block_size() const { return ext2_.volume().block_size(); }
inline ext2_directory ext2_node::entries() { return {fs().volume(), map_, size_, last_block_}; }

// tmpfs: a file system in memory; also what /dev, /dev/shm and memfd_create use.
//
// A regular file's contents are a uvm_aobj, so that read, write and mmap see the same pages. A
// directory is a tmpfs_directory. One lock for each file system (tmpfs::names_) guards all of its
// names: look-ups share it, changes have it alone. That makes renaming between directories as plain
// as renaming within one.
//
// Who owns what: an entry holds a reference to its node; a node does not hold its directory,
// because a directory with entries is never removed. A removed directory keeps its former parent
// for "..".
//
// Space. Every page of a file counts against the file system's page_quota and is charged to the
// commit account; a long symbolic link counts as a page. Every file counts as one, and so does each
// further name of it.
#pragma once

#include "kernel/files/vnode.h"
#include "kernel/fs/tmpfs_directory.h"
#include "kernel/fs/tmpfs_options.h"
#include "lib/list.h"
#include "vm/uvm_aobj.h"

class tmpfs;
class tmpfs_node;
class pipe_channel;

class tmpfs_node final : public vnode {
public:
    tmpfs_node(tmpfs& fs, uint64_t inode, const new_node& is);
    ~tmpfs_node() override;
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
    expected<size_t> read_link(char* out, size_t size) override;
    expected<ref_ptr<file>> open(uint32_t flags) override;
    ref_ptr<uvm_pages> memory() override;
    uint64_t held() override { return memory_ ? memory_->share() : 0; }
    status mount_here(mount_point& m) override;
    status truncate(uint64_t size) override;

    tmpfs_node* as_tmpfs() override { return this; }

    tmpfs& fs() const { return tmpfs_; }

    // F_SEAL_*: what is never done to the file again. It is EPERM.
    enum seal : uint32_t {
        no_more_seals = 1,
        no_shrinking = 2,
        no_growing = 4,
        no_writing = 8,
        no_new_writing = 16, // mappings that may store already go on
        all_seals = 31,
    };
    uint32_t seals() const { return seals_.load(); }
    bool sealed(uint32_t against) const { return seals() & against; }
    status add_seals(uint32_t more);   // EPERM EINVAL EBUSY
    void allow_seals() { seals_ = 0; } // before anybody else knows it

private:
    friend class tmpfs;
    friend struct rename_operation;
    bool removed() const { return links_ == 0; }           // names_ held
    expected<tmpfs_node*> own(vnode& node);                // EXDEV
    bool within(const tmpfs_node& ancestor) const;         // names_ held
    status may_remove(tmpfs_node& victim, bool directory); // names_ held
    // Enters `node` under the (prepared) entry, or takes an entry away. names_ held alone.
    void attach(tmpfs_entry& entry, ref_ptr<tmpfs_node> node);
    ref_ptr<tmpfs_node> detach(tmpfs_entry& entry);
    // detach(), for good: the name does not count any more.
    ref_ptr<tmpfs_node> drop_name(tmpfs_entry& entry);
    tmpfs_node* parent_node() const; // of a directory; names_ held

    tmpfs& tmpfs_;
    list_node among_nodes_; // of the file system
    // Under fs().names_.
    uint32_t links_ = 0; // st_nlink; 0: no name any more
    list<tmpfs_entry, &tmpfs_entry::among_names> names_;
    tmpfs_directory entries_;           // of a directory
    ref_ptr<tmpfs_node> former_parent_; // of a removed directory
    // Set at creation.
    ref_ptr<uvm_aobj> memory_; // regular files
    char* target_ = nullptr;   // symbolic links: kmem
    size_t target_length_ = 0;
    ref_ptr<pipe_channel> fifo_;                 // made at the first open; under lock()
    std::atomic<uint32_t> seals_{no_more_seals}; // changed under lock(), and only added to
};

class tmpfs final : public file_system {
public:
    // With a root directory as described. `shared`: another one's quota, to be under one limit with
    // it. ENOMEM.
    static expected<tmpfs*> create(const char* type, const new_node& root,
                                   const tmpfs_limits& limits,
                                   ref_ptr<page_quota> shared = nullptr);
    tmpfs(const char* type, const tmpfs_limits& limits, ref_ptr<page_quota> quota)
        : file_system(type), quota_(std::move(quota)), most_files_(limits.files) {}
    void destroy() override;

    ref_ptr<vnode> root() override;
    uint64_t magic() const override { return 0x01021994; }
    bool busy(unsigned root_references) override;
    space get_space() override;
    status set_options(char* options) override;
    void show_options(char* out, size_t size) override;
    ref_ptr<page_quota> quota() const { return quota_; }
    // What is there now is not to count: from here on so much more may come.
    void allow_more(const tmpfs_limits& more);

    // A node without a name: memfd_create. ENOMEM.
    expected<ref_ptr<tmpfs_node>> create_node(const new_node& is);
    uint64_t node_count();
    // Panics unless all directories are whole and all link counts are right.
    void check();

private:
    friend class tmpfs_node;
    friend struct rename_operation;
    friend void tmpfs_forget(tmpfs& fs, tmpfs_node& node);

    status count_file(); // ENOSPC
    void forget_file();

    const ref_ptr<page_quota> quota_;
    rw_lock names_{lock_rank::directory, "tmpfs names"};
    ref_ptr<tmpfs_node> root_ CONSTANT_ONCE_SHARED;
    std::atomic<uint64_t> next_inode_{1};
    spin_lock nodes_lock_{lock_rank::attributes, "tmpfs nodes"};
    list<tmpfs_node, &tmpfs_node::among_nodes_> nodes_ GUARDED_BY(nodes_lock_);
    uint64_t files_ GUARDED_BY(nodes_lock_) = 0; // nodes, and further names of nodes
    uint64_t most_files_ GUARDED_BY(nodes_lock_);
};

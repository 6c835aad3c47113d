// vnode: a file of some file system: regular file, directory, symbolic link, device, fifo.
//
// A vnode exists once for its file (in procfs: for each look-up) and is reference counted; the file
// systems derive from it. Names belong to directories: a vnode may have several names or none.
//
// Locks, outermost first (lib/lock_rank.h):
//   the file system's own lock of its names (rank directory): taken inside the operations below
//   vnode::lock()          contents: one writes or truncates; held over copies from programs
//   attribute_lock_        mode, owner, times; a spin lock
#pragma once

#include "kernel/abi/files.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"

#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

class file;
class file_system;
struct process;
class tmpfs_node;
class uvm_pages;
struct mount_point;
struct file_lock_list;
struct linux_stat;

inline constexpr size_t name_max = 255;  // bytes of one component
inline constexpr size_t path_max = 4096; // bytes of a path, with its NUL
inline constexpr unsigned symlink_max = 40;

// A device number in Linux's user encoding.
constexpr uint64_t make_device(uint32_t major, uint32_t minor) {
    return (minor & 0xff) | uint64_t(major & 0xfff) << 8 | uint64_t(minor & ~0xffu) << 12;
}
constexpr uint32_t device_major(uint64_t device) { return uint32_t(device >> 8) & 0xfff; }
constexpr uint32_t device_minor(uint64_t device) {
    return (uint32_t(device) & 0xff) | (uint32_t(device >> 12) & ~0xffu);
}

// Nanoseconds since 1970: what file times are in.
uint64_t file_time_now();

struct vattr {
    uint32_t mode = 0; // with the type
    uint32_t uid = 0, gid = 0;
    uint32_t links = 1;
    uint64_t size = 0, blocks = 0; // bytes; units of 512 bytes
    uint64_t device = 0;           // of a device node
    uint64_t atime = 0, mtime = 0, ctime = 0, birth = 0;
};

// What change_attributes() is to change; ctime is set to now with any of them.
struct vattr_change {
    std::optional<uint32_t> mode{}; // permission bits
    std::optional<uint32_t> uid{}, gid{};
    std::optional<uint64_t> atime{}, mtime{};
};

// What a new file is to be.
struct new_node {
    uint32_t mode; // type and permission bits, the umask already applied
    uint32_t uid, gid;
    uint64_t device = 0;
    std::string_view target{}; // of a symbolic link
};

// Takes directory entries. Called with the file system's names locked: it may not touch user
// memory.
class dir_sink {
public:
    virtual ~dir_sink() = default;
    // False when there is no room: the entry was not taken. `next` is the position after it; `type`
    // is DT_*.
    virtual bool add(std::string_view name, uint64_t inode, uint8_t type, uint64_t next) = 0;
    // After the last add(), with no lock but the description's position: hands over what was taken.
    // If that fails, the position stays where it was.
    virtual status finish() { return {}; }
};

class vnode : public ref_counted<vnode> {
public:
    static constexpr auto end_takes = lock_rank::pipe; // one in /proc/PID/fd has a file
    vnode(file_system& fs, uint64_t inode, const new_node& is);
    virtual ~vnode();
    virtual void last_reference_gone() = 0;

    file_system& fs() const { return fs_; }
    uint64_t inode() const { return inode_; }
    uint32_t type() const { return type_; } // S_IF*
    bool is_directory() const { return type_ == linux_abi::s_ifdir; }
    bool is_regular() const { return type_ == linux_abi::s_ifreg; }
    bool is_symlink() const { return type_ == linux_abi::s_iflnk; }
    uint64_t device() const { return device_; }

    // All of one instant.
    virtual vattr attributes();
    // One step from what the attributes are to what they become: `rule(const vattr&)` returns an
    // expected<vattr_change>, and nothing else changes them meanwhile. It may take locks whose rank
    // is behind `attributes`, such as the caller's credentials. It sees what a vnode keeps: no size
    // and no links. EROFS; EPERM or EOPNOTSUPP where the file system has no such changes.
    template <class Rule> status change_attributes(Rule rule);
    void touch_accessed(); // as relatime and the mount's flags say
    void touch_modified(); // mtime and ctime
    void touch_changed();  // ctime
    void fill_stat(linux_stat& out);

    // Directories. Names are single components, never "." or "..". Permissions have been checked,
    // except those that need the victim: the sticky bit's rule, and writing a directory that moves.
    // The caller holds no lock of rank directory.
    virtual expected<ref_ptr<vnode>> lookup(std::string_view name) {
        (void)name;
        return fail(Errno::notdir);
    }
    // Each of those that change names claims the file system, and is EROFS if it has become
    // read-only since permissions were checked.
    //
    // A node that is to be entered into this directory, and has no name yet: whoever needs more for
    // it gets that first, and nothing has happened if he does not.
    virtual expected<ref_ptr<vnode>> create_nameless(const new_node& is) {
        (void)is;
        return fail(Errno::perm);
    }
    // Gives it its name. EEXIST; ENOENT when this directory has been removed.
    virtual status enter(std::string_view name, vnode& nameless) {
        (void)name;
        (void)nameless;
        return fail(Errno::perm);
    }
    // Both.
    expected<ref_ptr<vnode>> create(std::string_view name, const new_node& is) {
        ref_ptr<vnode> node = TRY(create_nameless(is));
        TRY(enter(name, *node));
        return node;
    }
    // EXDEV: the target is of another file system.
    virtual status link(std::string_view name, vnode& target) {
        (void)name;
        (void)target;
        return fail(Errno::perm);
    }
    // unlink (ISDIR for a directory) and rmdir (NOTDIR NOTEMPTY). EBUSY: something is mounted on
    // it.
    virtual status remove(std::string_view name, bool directory) {
        (void)name;
        (void)directory;
        return fail(Errno::perm);
    }
    // EXDEV: `to` is a directory of another file system.
    virtual status rename(std::string_view name, vnode& to, std::string_view to_name,
                          uint32_t flags) {
        (void)name;
        (void)to;
        (void)to_name;
        (void)flags;
        return fail(Errno::perm);
    }
    // Entries from `position` (0 at the start; moved on) until the sink is full or the end is
    // reached.
    virtual status read_directory(uint64_t& position, dir_sink& sink) {
        (void)position;
        (void)sink;
        return fail(Errno::notdir);
    }
    // What /proc/PID/fd/N shows for a node that no directory can have: "pipe:[12]". Empty for
    // others.
    virtual void pseudo_path(char* out, size_t size) {
        if (size)
            out[0] = '\0';
    }
    // This node as one of tmpfs's; null for all others.
    virtual tmpfs_node* as_tmpfs() { return nullptr; }
    // The process whose directory of /proc this is: EBADF for all others, ESRCH once it is gone.
    virtual expected<ref_ptr<process>> described_process();
    // "..": the root of a file system is its own parent.
    virtual ref_ptr<vnode> parent() { return ref_ptr<vnode>(this); }
    // A name of this vnode and the directory that has it: `out` holds name_max + 1 bytes. ENOENT
    // when it has none any more.
    virtual expected<ref_ptr<vnode>> name_in_parent(char* out) {
        (void)out;
        return fail(Errno::noent);
    }

    // Symbolic links. The text, without a NUL, cut at `size`; returns its length.
    virtual expected<size_t> read_link(char* out, size_t size) {
        (void)out;
        (void)size;
        return fail(Errno::inval);
    }
    // A link that leads to a vnode whatever its text says (/proc/PID/exe): that vnode; null for
    // ordinary links.
    virtual expected<ref_ptr<vnode>> follow_link() { return ref_ptr<vnode>(); }

    // A description for read and write by `flags`; permission and write access have been got,
    // O_PATH and O_TRUNC dealt with. May block (fifos, terminals).
    virtual expected<ref_ptr<file>> open(uint32_t flags) = 0;
    // The contents of a regular file, as pages.
    virtual ref_ptr<uvm_pages> memory();
    // What there is of it besides its pages, names and attributes, is on the disk; and so are the pages
    // that have been written there. `only_data`: attributes may wait, as long as the data can be found.
    // EIO. No lock is held.
    virtual status sync(bool only_data) {
        (void)only_data;
        return {};
    }
    // Bytes that come free when nothing refers to it any more, however it is referred to. Called
    // with an fd_table locked.
    virtual uint64_t held() { return 0; }
    virtual status truncate(uint64_t size) {
        (void)size;
        return fail(Errno::inval);
    }

    sleep_lock& lock() RETURN_CAPABILITY(lock_) { return lock_; }

    // Write access and execution exclude each other: TXTBSY. So do write access and a file system
    // that is read-only: ROFS. Each success needs its release.
    status get_write_access();
    void put_write_access();
    status deny_write_access();
    void allow_write_access();

    // What is mounted here: see kernel/files/mount.h. ENOENT: this directory has been removed.
    // Called with the mount table locked; set under the file system's names too, so that a
    // directory is never removed under a mount.
    virtual status mount_here(mount_point& m) {
        mounted_here.store(&m);
        return {};
    }
    std::atomic<mount_point*> mounted_here{nullptr};
    // Advisory locks: see kernel/files/file_lock.cc.
    std::atomic<file_lock_list*> advisory_locks{nullptr};

protected:
    virtual status attributes_changeable() { return {}; }

    spin_lock attribute_lock_{lock_rank::attributes, "vnode attributes"};
    uint32_t permissions_ GUARDED_BY(attribute_lock_); // 07777
    uint32_t uid_ GUARDED_BY(attribute_lock_), gid_ GUARDED_BY(attribute_lock_);
    uint64_t atime_ GUARDED_BY(attribute_lock_), mtime_ GUARDED_BY(attribute_lock_),
        ctime_ GUARDED_BY(attribute_lock_);
    const uint64_t birth_;

private:
    vattr kept_attributes() const REQUIRES(attribute_lock_);
    void store(const vattr_change& change, uint64_t time) REQUIRES(attribute_lock_);

    file_system& fs_;
    const uint64_t inode_;
    const uint32_t type_;
    const uint64_t device_;
    sleep_lock lock_{lock_rank::vnode, "vnode"};
    std::atomic<int32_t> writers_{0}; // open for writing; when negative: executing
};

// DT_* of a directory entry.
constexpr uint8_t dirent_type(uint32_t mode) { return uint8_t((mode & linux_abi::s_ifmt) >> 12); }

// A file system, from its mount on. It outlives its vnodes: umount refuses while one is in use.
class file_system {
public:
    explicit file_system(const char* type);
    virtual ~file_system() = default;
    // Frees everything; nothing refers to any of its vnodes.
    virtual void destroy() = 0;

    const char* type() const { return type_; }
    uint64_t device() const { return device_; } // st_dev
    virtual ref_ptr<vnode> root() = 0;
    virtual uint64_t magic() const = 0; // statfs f_type
    // Whether a vnode other than the root, or the root itself by more than `root_references`, is in
    // use.
    virtual bool busy(unsigned root_references) = 0;
    // What statfs(2) tells, in blocks and in files. 0 where there is no limit. `reserved`: of the free
    // blocks, the superuser's.
    struct space {
        uint64_t blocks = 0, free_blocks = 0, files = 0, free_files = 0;
        uint64_t reserved = 0;
        uint32_t block_size = page_size;
    };
    virtual space get_space() { return {}; }
    // syncfs(2): everything that was changed before is on the disk. EIO. No lock is held but that of the
    // mount table.
    virtual status sync() { return {}; }
    // mount -o remount: the file system's own options, which are changed in place. EINVAL.
    virtual status set_options(char* options) {
        (void)options;
        return {};
    }
    // Around the change of MS_RDONLY by remount: it is read-only still, EROFS; already, EBUSY. Nobody
    // changes it meanwhile.
    virtual status become_writable() { return {}; }
    virtual status become_read_only() { return {}; }
    // For /proc/mounts: ",size=...", or nothing.
    virtual void show_options(char* out, size_t size) {
        if (size)
            out[0] = '\0';
    }

    // MS_* that hold for it (one mount has one file system).
    uint32_t mount_flags() const { return mount_flags_.load(std::memory_order_relaxed); }
    bool read_only() const { return mount_flags() & 1; }
    // EBUSY: it is to be read-only, and a file of it is open for writing, or somebody is changing
    // it. The mount table is locked.
    status set_mount_flags(uint32_t flags);

private:
    friend class vnode;
    friend class write_claim;
    status begin_writing(); // EROFS
    void end_writing() { writers_.fetch_sub(1); }

    std::atomic<uint32_t> mount_flags_{0};
    std::atomic<int32_t> writers_{0}; // claims, and files open for writing; negative: read-only
    const char* type_;
    const uint64_t device_;
};

// While there is one, a file system does not become read-only: who changes it has looked once, and
// what he found stays so.
class write_claim {
public:
    static expected<write_claim> on(file_system& fs) { // EROFS
        TRY(fs.begin_writing());
        return write_claim(fs);
    }
    write_claim(write_claim&& other) noexcept : fs_(std::exchange(other.fs_, nullptr)) {}
    ~write_claim() {
        if (fs_)
            fs_->end_writing();
    }

private:
    explicit write_claim(file_system& fs) : fs_(&fs) {}
    file_system* fs_;
};

template <class Rule> status vnode::change_attributes(Rule rule) {
    write_claim claim = TRY(write_claim::on(fs_));
    TRY(attributes_changeable());
    const uint64_t time = file_time_now();
    lock_guard guard(attribute_lock_);
    store(TRY(rule(kept_attributes())), time);
    return {};
}

// What vnodes and files tell the advisory locks, which know both and lie above them
// (kernel/files/file_lock.cc). The owner closed a descriptor of this file (POSIX), or the
// description ended: all its locks go. May sleep.
void file_locks_closed(vnode& node, const void* owner);
void file_locks_destroy(vnode& node); // the vnode ends

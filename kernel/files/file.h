// file: an open file description, and fd_table: what a process's descriptors mean.
#pragma once

#include "kernel/abi/files.h"
#include "kernel/base/uio.h"
#include "kernel/sched/poller.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"
#include "vm/prot.h"
#include "vm/uvm_handle.h"

#include <cstdint>

struct process;
class uvm_object;
class vnode;
class dir_sink;

// Shared by fork and dup. Subclasses: vnode_file, pipe_end, tty_file, ... Each method's default is
// the errno that Linux gives when an object cannot do it.
// A mapping refers to the description that it was made through, so that one whose descriptors are
// closed lives on until it is unmapped.
//
// What a file is of (its type, mode, owner, inode number, locks) is its node's to say; every file
// has one, pipes and event counters too (kernel/files/anonymous.h).
class file : public uvm_handle {
public:
    file(vnode& node, uint32_t flags);
    ~file() override;
    // Ends its places in epolls, and then it.
    void last_reference_gone() final;

    // The access mode has been checked by the caller; they block unless nonblocking(). Errors as
    // read(2), write(2); when interrupted before anything was moved: restartsys.
    virtual expected<int64_t> read(uio& io) {
        (void)io;
        return fail(Errno::inval);
    }
    virtual expected<int64_t> write(uio& io) {
        (void)io;
        return fail(Errno::inval);
    }
    // Whether read_at() and write_at() are for it: a stream has no places.
    virtual bool has_places() const { return false; }
    virtual expected<int64_t> read_at(uio& io, uint64_t offset) {
        (void)io;
        (void)offset;
        return fail(Errno::spipe);
    }
    virtual expected<int64_t> write_at(uio& io, uint64_t offset) {
        (void)io;
        (void)offset;
        return fail(Errno::spipe);
    }
    virtual expected<int64_t> seek(int64_t offset, int whence) {
        (void)offset;
        (void)whence;
        return fail(Errno::spipe);
    }
    virtual expected<int64_t> ioctl(uint64_t command, uint64_t argument) {
        (void)command;
        (void)argument;
        return fail(Errno::notty);
    }
    virtual status truncate(uint64_t size) {
        (void)size;
        return fail(Errno::inval);
    }
    // fallocate(2). The range is made sure to have memory behind it, and to belong to the file
    // unless `keep_size`; or it is made a hole.
    virtual status allocate(uint64_t offset, uint64_t size, bool keep_size) {
        (void)offset;
        (void)size;
        (void)keep_size;
        return fail(Errno::nodev);
    }
    virtual status punch(uint64_t offset, uint64_t size) {
        (void)offset;
        (void)size;
        return fail(Errno::nodev);
    }
    // F_GET_SEALS and F_ADD_SEALS. EINVAL where there are none; EPERM EBUSY.
    virtual expected<int64_t> seals() { return fail(Errno::inval); }
    virtual status add_seals(uint32_t more) {
        (void)more;
        return fail(Errno::inval);
    }
    virtual expected<int64_t> read_directory(dir_sink& sink) {
        (void)sink;
        return fail(Errno::notdir);
    }
    // Whether it can be waited for: EPERM of epoll_ctl if not. What poll() finds of it is always so.
    virtual bool pollable() const { return false; }
    // Which POLL* events hold now; registers `p` (may be null) for a later change.
    virtual uint32_t poll(poller* p) {
        (void)p;
        return linux_abi::pollin | linux_abi::pollout | linux_abi::pollrdnorm |
               linux_abi::pollwrnorm;
    }
    // What mmap maps; null for anonymous memory. nodev when it cannot be mapped.
    virtual expected<ref_ptr<uvm_object>> mmap_object();
    // Before it is mapped shared: what of `prot` it does not allow is EPERM; `most` is lowered to
    // what it may ever allow.
    virtual status limit_sharing(vm_prot prot, vm_prot& most) {
        (void)prot;
        (void)most;
        return {};
    }
    // fsync(2), and fdatasync(2) if `only_data`: everything that was written to it is safe. EIO: something
    // was not, and this description hears of it now, once.
    virtual status sync(bool only_data) {
        (void)only_data;
        return fail(Errno::inval);
    }
    // sync_file_range(2), of bytes [start, end): they are written, if they have been dirty, and no more is
    // promised. ESPIPE: it has no such bytes.
    virtual status write_back(uint64_t start, uint64_t end) {
        (void)start;
        (void)end;
        return fail(Errno::spipe);
    }
    // posix_fadvise(2), POSIX_FADV_*, of bytes [start, end).
    virtual status advise(uint64_t start, uint64_t end, int advice) {
        (void)start;
        (void)end;
        (void)advice;
        return {};
    }
    // Bytes that the kernel keeps for it: that wait in it, or come free with it; if it does not say,
    // its vnode's. Called with an fd_table locked.
    virtual uint64_t held();
    // F_GETPIPE_SZ and F_SETPIPE_SZ: bytes. badf when it is no pipe.
    virtual expected<int64_t> pipe_size() { return fail(Errno::badf); }
    virtual expected<int64_t> set_pipe_size(uint64_t size) {
        (void)size;
        return fail(Errno::badf);
    }
    // What it was opened by; never null.
    vnode* node() const { return node_.get(); }
    // The process that a pidfd stands for; null for all other files.
    virtual process* pidfd_process() { return nullptr; }
    // This file as what timerfd_create or signalfd have made; null for all others.
    virtual struct timer_file* as_timer() { return nullptr; }
    virtual struct signal_file* as_signals() { return nullptr; }
    virtual class epoll_file* as_epoll() { return nullptr; }
    virtual class socket* as_socket() { return nullptr; }

    uint32_t flags() const { return flags_.load(std::memory_order_relaxed); }
    void set_flags(uint32_t flags) { flags_.store(flags, std::memory_order_relaxed); } // F_SETFL
    // In all tables. Calls under way have references too, as many as their callers like.
    uint32_t descriptors() const { return descriptors_.load(std::memory_order_relaxed); }
    void add_descriptors(int32_t n) {
        descriptors_.fetch_add(uint32_t(n), std::memory_order_relaxed);
    }
    bool readable() const {
        return (flags() & linux_abi::o_accmode) != linux_abi::o_wronly &&
               !(flags() & linux_abi::o_path);
    }
    bool writable() const {
        return (flags() & linux_abi::o_accmode) != linux_abi::o_rdonly &&
               !(flags() & linux_abi::o_path);
    }
    bool nonblocking() const { return flags() & linux_abi::o_nonblock; }

    // The epolls that watch it: kernel/files/epoll.cc, under epoll_links there. They do not keep it.
    struct epoll_item* watched_by GUARD_UNCHECKED(epoll_links) = nullptr;
    std::atomic<uint32_t> watches{0}; // how many: changed under epoll_links

private:
    // The last reference is gone: closes and frees.
    virtual void closed() = 0;

    std::atomic<uint32_t> flags_, descriptors_{0};
    const ref_ptr<vnode> node_;
};

// `f` ends: no epoll watches it any more. kernel/files/epoll.cc
void epoll_file_ends(file& f);

// The descriptors of a process, or of several (CLONE_FILES, and vfork without it copies). Reference
// counted. A file that a call takes out is dropped after the lock is: its end may sleep.
class fd_table : public ref_counted<fd_table> {
public:
    static constexpr auto end_takes = lock_rank::pipe; // as its files
    static constexpr unsigned first_capacity = 32;
    static expected<ref_ptr<fd_table>> create(unsigned capacity = first_capacity); // ENOMEM
    expected<ref_ptr<fd_table>> copy();                                            // fork. ENOMEM
    fd_table();
    ~fd_table();
    void last_reference_gone();

    expected<ref_ptr<file>> get(int fd); // EBADF
    // The lowest free descriptor >= from. EMFILE by RLIMIT_NOFILE, ENOMEM.
    expected<int> install(ref_ptr<file> f, bool close_on_exec, int from = 0);
    // The same in two steps, for a caller that may yet fail: a descriptor that is nobody's, until
    // fill() gives it its file, or release() makes it free again. Meanwhile it is not open, and
    // neither close() nor dup2 can have it.
    expected<int> reserve(int from = 0);
    void fill(int fd, ref_ptr<file> f, bool close_on_exec);
    void release(int fd);
    // dup2: puts it at exactly `fd`, closing what is there. EBADF beyond RLIMIT_NOFILE, ENOMEM;
    // EBUSY if it is reserved.
    status install_at(int fd, ref_ptr<file> f, bool close_on_exec);
    status close(int fd); // EBADF
    // Two descriptors at once or none (pipe2, socketpair).
    status install_pair(ref_ptr<file> a, ref_ptr<file> b, bool close_on_exec, int out[2]);
    expected<bool> close_on_exec(int fd);
    status set_close_on_exec(int fd, bool value);
    void close_all_on_exec(); // exec, after the point of no return
    status close_range(unsigned first, unsigned last, bool only_mark);
    // Bytes of the kernel's that it keeps, with its files as if they were its alone.
    uint64_t footprint();
    // The first open descriptor >= from, of all or of those that an exec closes; -1: none.
    int next_open(int from, bool marked = false);
    unsigned open_count();

    // Its threads that wait for a record lock: kernel/files/file_lock.cc, under waits_lock there.
    struct file_lock_wait* lock_waits GUARD_UNCHECKED(waits_lock) = nullptr;

private:
    struct slot {
        ref_ptr<file> open; // changed by put(), and counted; a copy of a table fills fresh ones
        bool cloexec = false;
        bool reserved = false; // and not open
        ~slot() {
            if (open)
                open->add_descriptors(-1);
        }
        // Returns what was there.
        [[nodiscard]] ref_ptr<file> put(ref_ptr<file> f, bool close_on_exec);
    };
    // Memory for the slots of a table that has outgrown its first ones, in chunks of a page, so that
    // it grows by pages and moves none: on its way into the table, in it, or on its way out.
    struct slot_chunks {
        static constexpr unsigned each = 256;
        unsigned capacity = 0;   // a multiple of `each`
        slot** chunks = nullptr; // kmem
        // Those from `first` on, for `count` slots; the others are null. ENOMEM.
        status allocate(unsigned count, unsigned first);
        unsigned count() const { return capacity / each; }
        ~slot_chunks();
    };
    // `count` descriptors from now on, if that is more or still leaves room for all in use; the
    // lock is free while it allocates. ENOMEM.
    status resize(unsigned count) EXCLUDES(lock_);
    // The last in use is free now: looks for the new last, and gives back a big table that is
    // nearly empty if there is memory for a smaller one.
    void shrink() EXCLUDES(lock_);
    unsigned capacity() const REQUIRES(lock_) {
        return more_.capacity > first_capacity ? more_.capacity : first_capacity;
    }
    slot& at(unsigned fd) REQUIRES(lock_) {
        constexpr unsigned each = slot_chunks::each;
        return fd < first_capacity ? first_[fd] : more_.chunks[fd / each][fd % each];
    }
    bool valid(int fd) REQUIRES(lock_) {
        return fd >= 0 && unsigned(fd) < end_ && at(unsigned(fd)).open;
    }
    bool in_use(unsigned fd) REQUIRES(lock_) { return at(fd).open || at(fd).reserved; }
    // The lowest free slot >= from; the capacity or beyond when there is none.
    unsigned lowest_free(unsigned from) REQUIRES(lock_);
    void now_in_use(unsigned fd) REQUIRES(lock_) {
        changes_++;
        if (end_ <= fd)
            end_ = fd + 1;
    }
    // Whether it was the last, for shrink().
    bool now_free(unsigned fd) REQUIRES(lock_) {
        changes_++;
        if (first_free_ > fd)
            first_free_ = fd;
        return fd + 1 == end_;
    }

    spin_lock lock_{lock_rank::fd_table, "fd_table"};
    // The slots below first_capacity, which most processes never leave (in a union, so that the end of
    // the table need not look at those that are empty); those from there on.
    union {
        slot first_[first_capacity] GUARDED_BY(lock_);
    };
    slot_chunks more_ GUARDED_BY(lock_);
    // Of what is in the slots: copy() looks whether there were any meanwhile.
    uint64_t changes_ GUARDED_BY(lock_) = 0;
    // None is in use from end_ on, and none is free below first_free_.
    unsigned end_ GUARDED_BY(lock_) = 0, first_free_ GUARDED_BY(lock_) = 0;
};

// A descriptor that is had before what is behind it: nobody can use its number until install(), and
// it is free again if that does not come.
class new_descriptor {
public:
    explicit new_descriptor(fd_table& files) : files_(files) {}
    new_descriptor(const new_descriptor&) = delete;
    ~new_descriptor() {
        if (fd_ >= 0)
            files_.release(fd_);
    }
    expected<int> reserve(bool close_on_exec, ref_ptr<file> f = nullptr) {
        fd_ = TRY(files_.reserve());
        file_ = std::move(f);
        close_on_exec_ = close_on_exec;
        return fd_;
    }
    void install() {
        if (fd_ >= 0)
            files_.fill(std::exchange(fd_, -1), std::move(file_), close_on_exec_);
    }
    void install(ref_ptr<file> f) {
        file_ = std::move(f);
        install();
    }

private:
    fd_table& files_;
    ref_ptr<file> file_;
    bool close_on_exec_ = false;
    int fd_ = -1;
};

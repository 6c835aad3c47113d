#include "kernel/files/vnode.h"

#include "kernel/abi/arguments.h"
#include "kernel/process/process.h"
#include "kernel/sched/wall_clock.h"
#include "vm/uvm_pages.h"

using namespace linux_abi;

uint64_t file_time_now() { return wall_clock(); }

vnode::vnode(file_system& fs, uint64_t inode, const new_node& is)
    : permissions_(is.mode & 07777), uid_(is.uid), gid_(is.gid), birth_(file_time_now()), fs_(fs),
      inode_(inode), type_(is.mode & s_ifmt), device_(is.device) {
    atime_ = mtime_ = ctime_ = birth_;
}

vnode::~vnode() {
    ASSERT(writers_.load() == 0);
    file_locks_destroy(*this);
}

vattr vnode::attributes() {
    lock_guard guard(attribute_lock_);
    return kept_attributes();
}

vattr vnode::kept_attributes() const {
    vattr a;
    a.mode = type_ | permissions_;
    a.uid = uid_;
    a.gid = gid_;
    a.device = device_;
    a.atime = atime_;
    a.mtime = mtime_;
    a.ctime = ctime_;
    a.birth = birth_;
    return a;
}

void vnode::store(const vattr_change& change, uint64_t time) {
    if (change.mode)
        permissions_ = *change.mode & 07777;
    if (change.uid)
        uid_ = *change.uid;
    if (change.gid)
        gid_ = *change.gid;
    if (change.atime)
        atime_ = *change.atime;
    if (change.mtime)
        mtime_ = *change.mtime;
    ctime_ = time;
}

// Linux's relatime: once a day, or when the last access is not after the last change.
void vnode::touch_accessed() {
    constexpr uint64_t day = 86400 * nanos_per_second;
    uint32_t flags = fs_.mount_flags();
    if (flags & (ms_noatime | ms_rdonly))
        return;
    if (is_directory() && (flags & ms_nodiratime))
        return;
    lock_guard guard(attribute_lock_);
    // A cheap test first: reading the clock costs more than a small read.
    if (!(flags & ms_strictatime) && atime_ > mtime_ && atime_ > ctime_ &&
        file_time_now() - atime_ < day)
        return;
    // Not where it has become read-only meanwhile.
    if (auto claim = write_claim::on(fs_))
        atime_ = file_time_now();
}

void vnode::touch_modified() {
    uint64_t time = file_time_now();
    lock_guard guard(attribute_lock_);
    mtime_ = ctime_ = time;
}

void vnode::touch_changed() {
    uint64_t time = file_time_now();
    lock_guard guard(attribute_lock_);
    ctime_ = time;
}

ref_ptr<uvm_pages> vnode::memory() { return {}; }

expected<ref_ptr<process>> vnode::described_process() { return fail(Errno::badf); }

static linux_timespec timespec_of(uint64_t nanos) {
    return {int64_t(nanos / nanos_per_second), int64_t(nanos % nanos_per_second)};
}

void vnode::fill_stat(linux_stat& out) {
    vattr a = attributes();
    out = {};
    out.dev = fs_.device();
    out.ino = inode_;
    out.nlink = a.links;
    out.mode = a.mode;
    out.uid = a.uid;
    out.gid = a.gid;
    out.rdev = a.device;
    out.size = int64_t(a.size);
    out.blksize = page_size;
    out.blocks = int64_t(a.blocks);
    out.atime = timespec_of(a.atime);
    out.mtime = timespec_of(a.mtime);
    out.ctime = timespec_of(a.ctime);
}

status vnode::get_write_access() {
    TRY(fs_.begin_writing());
    int32_t n = writers_.load();
    do {
        if (n < 0) {
            fs_.end_writing();
            return fail(Errno::txtbsy);
        }
    } while (!writers_.compare_exchange_weak(n, n + 1));
    return {};
}

void vnode::put_write_access() {
    [[maybe_unused]] int32_t before = writers_.fetch_sub(1);
    ASSERT(before > 0);
    fs_.end_writing();
}

status vnode::deny_write_access() {
    int32_t n = writers_.load();
    do {
        if (n > 0)
            return fail(Errno::txtbsy);
    } while (!writers_.compare_exchange_weak(n, n - 1));
    return {};
}

void vnode::allow_write_access() {
    [[maybe_unused]] int32_t before = writers_.fetch_add(1);
    ASSERT(before < 0);
}

static std::atomic<uint32_t> next_device_minor{1};

// Memory file systems have no device: major 0 and a minor of their own, as on Linux.
file_system::file_system(const char* type)
    : type_(type), device_(make_device(0, next_device_minor.fetch_add(1))) {}

status file_system::begin_writing() {
    int32_t n = writers_.load();
    do {
        if (n < 0)
            return fail(Errno::rofs);
    } while (!writers_.compare_exchange_weak(n, n + 1));
    return {};
}

status file_system::set_mount_flags(uint32_t flags) {
    constexpr int32_t closed = -1;
    const bool now = read_only(), wanted = flags & ms_rdonly;
    int32_t none = 0;
    if (wanted && !now && !writers_.compare_exchange_strong(none, closed))
        return fail(Errno::busy);
    if (now && !wanted)
        writers_.store(0);
    mount_flags_.store(flags, std::memory_order_relaxed);
    return {};
}

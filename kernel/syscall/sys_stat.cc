// System calls on inodes: what they are, whose, and when.
#include "kernel/abi/files.h"
#include "kernel/abi/syscalls.h"
#include "kernel/files/file.h"
#include "kernel/files/fs_context.h"
#include "kernel/files/lookup.h"
#include "kernel/files/path_buffer.h"
#include "kernel/files/permission.h"
#include "kernel/files/vfs.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "lib/string.h"

#include <optional>

using namespace linux_abi;

namespace {

expected<ref_ptr<vnode>> node_of_any_fd(int fd) {
    return ref_ptr<vnode>(TRY(current_thread().files->get(fd))->node());
}

// What a call with a path or (AT_EMPTY_PATH) a descriptor is about.
expected<ref_ptr<vnode>> find_node(int at_fd, sys_path path, int32_t flags) {
    // With AT_EMPTY_PATH a null pointer counts as an empty path.
    if ((flags & at_empty_path) && path.address.value() == 0)
        return node_of_any_fd(at_fd);
    auto name = TRY(path_buffer::copy(path));
    if (name.length() == 0 && (flags & at_empty_path)) {
        if (at_fd == at_fdcwd)
            return current_thread().fs->current_directory();
        return node_of_any_fd(at_fd);
    }
    return lookup_path(at_fd, name.c_str(), !(flags & at_symlink_nofollow));
}

// Of a descriptor through which the file may be changed.
expected<ref_ptr<vnode>> node_of_fd(int fd) {
    auto f = TRY(current_thread().files->get(fd));
    if (f->flags() & o_path)
        return fail(Errno::badf);
    return ref_ptr<vnode>(f->node());
}

linux_stat stat_of(vnode& node) {
    linux_stat out;
    node.fill_stat(out);
    return out;
}

} // namespace

// ---- stat ------------------------------------------------------------------------------------

sysresult sys_newfstatat(sys_at_fd at, sys_path path, user_ptr<linux_stat> out,
                         sys_at_flags flags) {
    if (flags.value & ~(at_symlink_nofollow | at_no_automount | at_empty_path))
        return fail(Errno::inval);
    TRY(out.write(stat_of(*TRY(find_node(at, path, flags)))));
    return 0;
}

sysresult sys_stat(sys_path path, user_ptr<linux_stat> out) {
    return sys_newfstatat({at_fdcwd}, path, out, {0});
}

sysresult sys_lstat(sys_path path, user_ptr<linux_stat> out) {
    return sys_newfstatat({at_fdcwd}, path, out, {at_symlink_nofollow});
}

sysresult sys_fstat(sys_fd fd, user_ptr<linux_stat> out) {
    TRY(out.write(stat_of(*TRY(node_of_any_fd(fd)))));
    return 0;
}

namespace {
struct statx_time {
    int64_t sec;
    uint32_t nsec;
    int32_t pad;
};
struct linux_statx {
    uint32_t mask, blksize;
    uint64_t attributes;
    uint32_t nlink, uid, gid;
    uint16_t mode, pad0;
    uint64_t ino, size, blocks, attributes_mask;
    statx_time atime, btime, ctime, mtime;
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t more[14];
};
static_assert(sizeof(linux_statx) == 256);
} // namespace

sysresult sys_statx(sys_at_fd at, sys_path path, sys_at_flags flags, sys_hex mask,
                    user_ptr<void> out) {
    constexpr uint32_t reserved = 1u << 31, basic_and_birth = 0xfff;
    constexpr int32_t known =
        at_symlink_nofollow | at_no_automount | at_empty_path | at_statx_sync_type;
    if ((flags.value & ~known) || (mask.value & reserved) ||
        (flags.value & at_statx_sync_type) == at_statx_sync_type)
        return fail(Errno::inval);
    ref_ptr<vnode> node = TRY(find_node(at, path, flags));
    linux_stat st = stat_of(*node);
    auto time = [](const linux_timespec& t) { return statx_time{t.sec, uint32_t(t.nsec), 0}; };
    linux_statx x{};
    x.mask = basic_and_birth;
    x.blksize = uint32_t(st.blksize);
    x.nlink = uint32_t(st.nlink);
    x.uid = st.uid;
    x.gid = st.gid;
    x.mode = uint16_t(st.mode);
    x.ino = st.ino;
    x.size = uint64_t(st.size);
    x.blocks = uint64_t(st.blocks);
    x.atime = time(st.atime);
    x.mtime = time(st.mtime);
    x.ctime = time(st.ctime);
    uint64_t born = node->attributes().birth;
    x.btime = {int64_t(born / nanos_per_second), uint32_t(born % nanos_per_second), 0};
    x.rdev_major = device_major(st.rdev);
    x.rdev_minor = device_minor(st.rdev);
    x.dev_major = device_major(st.dev);
    x.dev_minor = device_minor(st.dev);
    TRY(copy_out(out.address(), &x, sizeof(x)));
    return 0;
}

// ---- access ----------------------------------------------------------------------------------

sysresult sys_faccessat2(sys_at_fd at, sys_path path, int32_t mode, sys_at_flags flags) {
    if ((mode & ~7) || (flags.value & ~(at_symlink_nofollow | at_eaccess | at_empty_path)))
        return fail(Errno::inval);
    ref_ptr<vnode> node = TRY(find_node(at, path, flags));
    if (mode == 0)
        return 0;
    bool runs = (mode & may_execute) && node->is_regular();
    if (runs && (node->fs().mount_flags() & ms_noexec))
        return fail(Errno::acces);
    TRY(check_access(*node, uint32_t(mode), !(flags.value & at_eaccess)));
    return 0;
}

sysresult sys_faccessat(sys_at_fd at, sys_path path, int32_t mode) {
    return sys_faccessat2(at, path, mode, {0});
}

sysresult sys_access(sys_path path, int32_t mode) {
    return sys_faccessat2({at_fdcwd}, path, mode, {0});
}

// ---- Mode and owner --------------------------------------------------------------------------

sysresult sys_fchmodat(sys_at_fd at, sys_path path, sys_mode mode) {
    TRY(change_mode(*TRY(find_node(at, path, 0)), mode));
    return 0;
}

sysresult sys_chmod(sys_path path, sys_mode mode) { return sys_fchmodat({at_fdcwd}, path, mode); }

sysresult sys_fchmod(sys_fd fd, sys_mode mode) {
    TRY(change_mode(*TRY(node_of_fd(fd)), mode));
    return 0;
}

sysresult sys_fchownat(sys_at_fd at, sys_path path, uint32_t uid, uint32_t gid,
                       sys_at_flags flags) {
    if (flags.value & ~(at_symlink_nofollow | at_empty_path))
        return fail(Errno::inval);
    TRY(change_owner(*TRY(find_node(at, path, flags)), uid, gid));
    return 0;
}

sysresult sys_chown(sys_path path, uint32_t uid, uint32_t gid) {
    return sys_fchownat({at_fdcwd}, path, uid, gid, {0});
}

sysresult sys_lchown(sys_path path, uint32_t uid, uint32_t gid) {
    return sys_fchownat({at_fdcwd}, path, uid, gid, {at_symlink_nofollow});
}

sysresult sys_fchown(sys_fd fd, uint32_t uid, uint32_t gid) {
    TRY(change_owner(*TRY(node_of_fd(fd)), uid, gid));
    return 0;
}

// ---- Times -----------------------------------------------------------------------------------

namespace {

new_times times_now() {
    uint64_t now = file_time_now();
    return {now, now, true};
}

// Values of tv_nsec: now, and leave it as it is.
constexpr int64_t utime_now = (1 << 30) - 1, utime_omit = (1 << 30) - 2;

expected<std::optional<uint64_t>> parse_time(const linux_timespec& t) {
    if (t.nsec == utime_omit)
        return std::optional<uint64_t>();
    if (t.nsec == utime_now)
        return std::optional<uint64_t>(file_time_now());
    if (t.nsec < 0 || t.nsec >= int64_t(nanos_per_second))
        return fail(Errno::inval);
    // Times are kept from 1970 to 2554: others become the nearest of these, as on Linux.
    uint64_t latest = UINT64_MAX / nanos_per_second - 1;
    uint64_t seconds = t.sec < 0 ? 0 : uint64_t(t.sec) > latest ? latest : uint64_t(t.sec);
    return std::optional<uint64_t>(seconds * nanos_per_second + uint64_t(t.nsec));
}

} // namespace

sysresult sys_utimensat(sys_at_fd at, sys_path path, user_ptr<const linux_timespec> times,
                        sys_at_flags flags) {
    if (flags.value & ~(at_symlink_nofollow | at_empty_path))
        return fail(Errno::inval);
    linux_timespec given[2] = {{0, utime_now}, {0, utime_now}};
    if (times) {
        given[0] = TRY(times.read_at(0));
        given[1] = TRY(times.read_at(1));
        if (given[0].nsec == utime_omit && given[1].nsec == utime_omit)
            return 0;
    }
    // futimens: a null path means the descriptor itself.
    const bool by_descriptor = path.address.value() == 0 && at.value != at_fdcwd;
    if (by_descriptor && (flags.value & ~at_empty_path))
        return fail(Errno::inval);
    auto node = TRY(by_descriptor ? node_of_fd(at) : find_node(at, path, flags));
    // As on Linux, times that are none are only looked at once the file has been found.
    TRY(change_times(*node, {TRY(parse_time(given[0])), TRY(parse_time(given[1])),
                             given[0].nsec == utime_now && given[1].nsec == utime_now}));
    return 0;
}

sysresult sys_utimes(sys_path path, user_ptr<const linux_timeval> times) {
    new_times wanted = times_now();
    if (times) {
        wanted.now = false;
        std::optional<uint64_t>* out[2] = {&wanted.access, &wanted.modification};
        for (size_t i = 0; i < 2; i++) {
            linux_timeval t = TRY(times.read_at(i));
            if (t.usec < 0 || t.usec >= 1'000'000)
                return fail(Errno::inval);
            *out[i] = TRY(parse_time({t.sec, t.usec * 1000}));
        }
    }
    TRY(change_times(*TRY(find_node(at_fdcwd, path, 0)), wanted));
    return 0;
}

sysresult sys_utime(sys_path path, user_ptr<const int64_t> times) {
    new_times wanted = times_now();
    if (times) {
        wanted.now = false;
        wanted.access = TRY(parse_time({TRY(times.read_at(0)), 0}));
        wanted.modification = TRY(parse_time({TRY(times.read_at(1)), 0}));
    }
    TRY(change_times(*TRY(find_node(at_fdcwd, path, 0)), wanted));
    return 0;
}

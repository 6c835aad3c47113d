// System calls that change names: directories, links, removal, renaming.
#include "kernel/abi/files.h"
#include "kernel/abi/syscalls.h"
#include "kernel/files/file.h"
#include "kernel/files/fs_context.h"
#include "kernel/files/lookup.h"
#include "kernel/files/path_buffer.h"
#include "kernel/files/permission.h"
#include "kernel/files/vfs.h"
#include "kernel/process/call_memory.h"
#include "kernel/process/sync_point.h"
#include "kernel/process/thread.h"
#include "lib/string.h"

#include <algorithm>

using namespace linux_abi;

namespace {

// Makes a file of any type but a regular one that is to be opened.
status make_node(int at_fd, sys_path path, uint32_t mode, uint64_t device,
                 std::string_view target = {}) {
    auto name = TRY(path_buffer::copy(path));
    path_walk walk(TRY(start_directory(at_fd, name.c_str())), name.c_str());
    TRY(walk.to_last());
    if (walk.dot_name())
        return fail(Errno::exist);
    bool directory = (mode & s_ifmt) == s_ifdir;
    auto present = walk.directory().lookup(walk.name());
    if (present)
        return fail(Errno::exist);
    if (present.error() != Errno::noent)
        return fail(present.error());
    if (walk.trailing_slash() && !directory)
        return fail(Errno::noent);
    TRY(check_create(walk.directory()));
    new_node is = node_for_caller(walk.directory(), mode, device);
    is.target = target;
    at_sync_point(sync_point::about_to_publish);
    TRY(walk.directory().create(walk.name(), is));
    return {};
}

} // namespace

sysresult sys_mkdirat(sys_at_fd at, sys_path path, sys_mode mode) {
    TRY(make_node(at, path, s_ifdir | (mode & (0777 | s_isvtx)), 0));
    return 0;
}

sysresult sys_mkdir(sys_path path, sys_mode mode) { return sys_mkdirat({at_fdcwd}, path, mode); }

sysresult sys_mknodat(sys_at_fd at, sys_path path, sys_mode mode, uint64_t device) {
    uint32_t type = mode & s_ifmt;
    switch (type) {
    case 0: type = s_ifreg; break;
    case s_ifreg:
    case s_ififo:
    case s_ifsock: break;
    case s_ifchr:
    case s_ifblk:
        if (!is_superuser())
            return fail(Errno::perm);
        break;
    case s_ifdir: return fail(Errno::perm);
    default: return fail(Errno::inval);
    }
    bool is_device = type == s_ifchr || type == s_ifblk;
    TRY(make_node(at, path, type | (mode & 07777), is_device ? uint32_t(device) : 0));
    return 0;
}

sysresult sys_mknod(sys_path path, sys_mode mode, uint64_t device) {
    return sys_mknodat({at_fdcwd}, path, mode, device);
}

sysresult sys_symlinkat(sys_string target, sys_at_fd at, sys_path path) {
    auto text = TRY(path_buffer::copy({target.address}));
    if (text.length() == 0)
        return fail(Errno::noent);
    TRY(make_node(at, path, s_iflnk | 0777, 0, {text.c_str(), text.length()}));
    return 0;
}

sysresult sys_symlink(sys_string target, sys_path path) {
    return sys_symlinkat(target, {at_fdcwd}, path);
}

sysresult sys_linkat(sys_at_fd from_at, sys_path from, sys_at_fd to_at, sys_path to,
                     sys_at_flags flags) {
    if (flags.value & ~(at_symlink_follow | at_empty_path))
        return fail(Errno::inval);
    auto from_name = TRY(path_buffer::copy(from));
    auto to_name = TRY(path_buffer::copy(to));
    ref_ptr<vnode> target;
    if (from_name.length() == 0 && (flags.value & at_empty_path)) {
        if (!is_superuser())
            return fail(Errno::noent);
        auto f = TRY(current_thread().files->get(from_at));
        target = ref_ptr<vnode>(f->node());
    } else {
        target = TRY(lookup_path(from_at, from_name.c_str(), flags.value & at_symlink_follow));
    }
    path_walk walk(TRY(start_directory(to_at, to_name.c_str())), to_name.c_str());
    TRY(walk.to_last());
    if (walk.dot_name() || walk.directory().lookup(walk.name()))
        return fail(Errno::exist);
    if (walk.trailing_slash())
        return fail(Errno::noent);
    if (&walk.directory().fs() != &target->fs())
        return fail(Errno::xdev);
    TRY(check_create(walk.directory()));
    at_sync_point(sync_point::about_to_publish);
    TRY(walk.directory().link(walk.name(), *target));
    return 0;
}

sysresult sys_link(sys_path from, sys_path to) {
    return sys_linkat({at_fdcwd}, from, {at_fdcwd}, to, {0});
}

sysresult sys_unlinkat(sys_at_fd at, sys_path path, sys_at_flags flags) {
    if (flags.value & ~at_removedir)
        return fail(Errno::inval);
    bool directory = flags.value & at_removedir;
    auto name = TRY(path_buffer::copy(path));
    path_walk walk(TRY(start_directory(at, name.c_str())), name.c_str());
    TRY(walk.to_last());
    if (walk.name().empty())
        return fail(directory ? Errno::busy : Errno::isdir);
    if (walk.name() == ".")
        return fail(directory ? Errno::inval : Errno::isdir);
    if (walk.name() == "..")
        return fail(directory ? Errno::notempty : Errno::isdir);
    ref_ptr<vnode> victim = TRY(walk.directory().lookup(walk.name()));
    if (walk.trailing_slash() && !directory)
        return fail(victim->is_directory() ? Errno::isdir : Errno::notdir);
    TRY(check_create(walk.directory()));
    at_sync_point(sync_point::about_to_publish);
    TRY(walk.directory().remove(walk.name(), directory));
    return 0;
}

sysresult sys_unlink(sys_path path) { return sys_unlinkat({at_fdcwd}, path, {0}); }

sysresult sys_rmdir(sys_path path) { return sys_unlinkat({at_fdcwd}, path, {at_removedir}); }

sysresult sys_renameat2(sys_at_fd from_at, sys_path from, sys_at_fd to_at, sys_path to,
                        sys_hex flags) {
    if (flags.value & ~(rename_noreplace | rename_exchange))
        return fail(Errno::inval);
    bool exchange = flags.value & rename_exchange;
    if (exchange && (flags.value & rename_noreplace))
        return fail(Errno::inval);
    auto from_name = TRY(path_buffer::copy(from));
    auto to_name = TRY(path_buffer::copy(to));
    path_walk source(TRY(start_directory(from_at, from_name.c_str())), from_name.c_str());
    TRY(source.to_last());
    path_walk target(TRY(start_directory(to_at, to_name.c_str())), to_name.c_str());
    TRY(target.to_last());
    if (&source.directory().fs() != &target.directory().fs())
        return fail(Errno::xdev);
    if (source.dot_name() || target.dot_name())
        return fail(flags.value & rename_noreplace && target.dot_name() ? Errno::exist
                                                                        : Errno::busy);

    ref_ptr<vnode> moved = TRY(source.directory().lookup(source.name()));
    if (!moved->is_directory() &&
        (source.trailing_slash() || (target.trailing_slash() && !exchange)))
        return fail(Errno::notdir);
    TRY(check_create(source.directory()));
    TRY(check_create(target.directory()));
    at_sync_point(sync_point::about_to_publish);
    TRY(source.directory().rename(source.name(), target.directory(), target.name(), flags.value));
    return 0;
}

sysresult sys_renameat(sys_at_fd from_at, sys_path from, sys_at_fd to_at, sys_path to) {
    return sys_renameat2(from_at, from, to_at, to, {0});
}

sysresult sys_rename(sys_path from, sys_path to) {
    return sys_renameat2({at_fdcwd}, from, {at_fdcwd}, to, {0});
}

// ---- The working directory -------------------------------------------------------------------

static sysresult change_directory(ref_ptr<vnode> node) {
    if (!node->is_directory())
        return fail(Errno::notdir);
    TRY(check_access(*node, may_execute));
    current_thread().fs->set_current_directory(std::move(node));
    return 0;
}

sysresult sys_chdir(sys_path path) {
    auto name = TRY(path_buffer::copy(path));
    return change_directory(TRY(lookup_path(at_fdcwd, name.c_str(), true)));
}

sysresult sys_fchdir(sys_fd fd) {
    auto f = TRY(current_thread().files->get(fd));
    return change_directory(ref_ptr<vnode>(f->node()));
}

sysresult sys_getcwd(user_ptr<char> out, uint64_t size) {
    kmem_array<char> path(path_max);
    if (!path)
        return fail(Errno::nomem);
    size_t length =
        TRY(vfs_path_of(*current_thread().fs->current_directory(), path.data(), path.size()));
    if (length + 1 > size)
        return fail(Errno::range);
    TRY(copy_out(out.address(), path.data(), length + 1));
    return int64_t(length + 1);
}

sysresult sys_umask(sys_mode mask) { return current_thread().fs->set_umask(mask); }

// ---- Reading links and directories -----------------------------------------------------------

sysresult sys_readlinkat(sys_at_fd at, sys_path path, user_ptr<char> out, int64_t size) {
    if (int32_t(size) <= 0) // Linux takes an int
        return fail(Errno::inval);
    auto name = TRY(path_buffer::copy(path));
    ref_ptr<vnode> node;
    if (name.length() == 0 && at.value != at_fdcwd) {
        auto f = TRY(current_thread().files->get(at)); // a link that was opened with O_PATH
        node = ref_ptr<vnode>(f->node());
        if (!node->is_symlink())
            return fail(Errno::noent);
    } else {
        node = TRY(lookup_path(at, name.c_str(), false));
    }
    if (!node->is_symlink())
        return fail(Errno::inval);
    kmem_array<char> text(path_max);
    if (!text)
        return fail(Errno::nomem);
    size_t length = TRY(node->read_link(text.data(), std::min(size_t(uint32_t(size)), path_max)));
    TRY(copy_out(out.address(), text.data(), length));
    node->touch_accessed();
    return int64_t(length);
}

sysresult sys_readlink(sys_path path, user_ptr<char> out, int64_t size) {
    return sys_readlinkat({at_fdcwd}, path, out, size);
}

namespace {

// Lays entries out as getdents or getdents64 wants them, in a kernel buffer.
class dirent_writer final : public dir_sink {
public:
    dirent_writer(kmem_array<char>& buffer, user_ptr<void> out, bool old_format)
        : buffer_(buffer), out_(out), old_(old_format) {}
    bool add(std::string_view name, uint64_t inode, uint8_t type, uint64_t next) override {
        // struct linux_dirent64 { u64 ino; s64 off; u16 reclen; u8 type; char name[]; }
        // struct linux_dirent   { u64 ino; s64 off; u16 reclen; char name[]; ... u8 type at the end
        // }
        size_t name_at = old_ ? 18 : 19;
        size_t size = (name_at + name.size() + (old_ ? 2 : 1) + 7) & ~size_t{7};
        if (used_ + size > buffer_.size()) {
            full_ = true;
            return false;
        }
        char* to = buffer_.data() + used_;
        memset(to, 0, size);
        uint16_t record = uint16_t(size);
        memcpy(to, &inode, 8);
        memcpy(to + 8, &next, 8);
        memcpy(to + 16, &record, 2);
        memcpy(to + name_at, name.data(), name.size());
        to[old_ ? size - 1 : 18] = char(type);
        used_ += size;
        return true;
    }
    status finish() override {
        if (used_ == 0 && full_)
            return fail(Errno::inval); // not even one fits
        return copy_out(out_.address(), buffer_.data(), used_);
    }
    size_t used() const { return used_; }

private:
    kmem_array<char>& buffer_;
    const user_ptr<void> out_;
    const bool old_;
    size_t used_ = 0;
    bool full_ = false;
};

sysresult read_entries(int fd, user_ptr<void> out, uint32_t size, bool old_format) {
    constexpr uint32_t most = 32 * 1024;
    auto f = TRY(current_thread().files->get(fd));
    size = std::min(size, most);
    call_array<char> buffer(size);
    // Where free pages lie scattered, one is to be had; the next call tells the rest.
    while (!buffer && size > page_size)
        buffer = call_array<char>(size /= 2);
    if (size && !buffer)
        return fail(Errno::nomem);
    dirent_writer writer(buffer, out, old_format);
    TRY(f->read_directory(writer));
    return int64_t(writer.used());
}

} // namespace

sysresult sys_getdents64(sys_fd fd, user_ptr<void> out, uint32_t size) {
    return read_entries(fd, out, size, false);
}

sysresult sys_getdents(sys_fd fd, user_ptr<void> out, uint32_t size) {
    return read_entries(fd, out, size, true);
}

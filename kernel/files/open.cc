// open(2): from a path and flags to a file.
#include "kernel/files/file.h"
#include "kernel/files/lookup.h"
#include "kernel/files/permission.h"
#include "kernel/files/vfs.h"
#include "kernel/files/vnode_file.h"
#include "kernel/process/sync_point.h"
#include "kernel/process/thread.h"

// What a description keeps; the rest of the flags are for the act of opening.
static constexpr uint32_t kept_flags = O_ACCMODE_ | O_APPEND_ | O_NONBLOCK_ | O_SYNC_ | O_NOATIME_ |
                                       O_LARGEFILE_ | O_DIRECTORY_ | O_NOFOLLOW_ | O_PATH_;

static uint32_t wanted_access(uint32_t flags) {
    static constexpr uint32_t by_mode[4] = {may_read, may_write, may_read | may_write,
                                            may_read | may_write};
    return by_mode[flags & O_ACCMODE_] | (flags & O_TRUNC_ ? uint32_t(may_write) : 0);
}

expected<ref_ptr<file>> vfs_open_node(vnode& node, uint32_t flags, bool created) {
    bool device = node.type() == S_IFCHR_ || node.type() == S_IFBLK_;
    if (flags & O_PATH_) {
        if ((flags & O_DIRECTORY_) && !node.is_directory())
            return fail(Errno::notdir);
        return path_file_open(node, flags & kept_flags);
    }
    if (node.is_symlink())
        return fail(Errno::loop);
    if ((flags & O_DIRECTORY_) && !node.is_directory())
        return fail(Errno::notdir);
    uint32_t wanted = wanted_access(flags);
    if (node.is_directory() && ((wanted & may_write) || (flags & O_CREAT_)))
        return fail(Errno::isdir);
    if (!created)
        TRY(check_access(node, wanted));
    if (device && (node.fs().mount_flags() & MS_NODEV_))
        return fail(Errno::acces);
    if ((flags & O_NOATIME_) && !is_owner(node))
        return fail(Errno::perm);
    if ((flags & O_DIRECT_) && node.is_regular())
        return fail(Errno::inval);

    bool writing = node.is_regular() && (wanted & may_write);
    if (writing)
        TRY(node.get_write_access());
    auto opened = node.open(flags & (kept_flags | O_NOCTTY_));
    status done;
    // The last step, since it cannot be taken back. It is a write, even through a description that
    // is for reading.
    if (opened && writing && (flags & O_TRUNC_) && !created)
        done = node.truncate(0);
    // The description gives write access back when it ends, if it is for writing.
    if (writing && (!opened || !(*opened)->writable()))
        node.put_write_access();
    if (!done)
        return fail(done.error());
    return opened;
}

expected<ref_ptr<file>> vfs_open_at(int at_fd, const char* path, uint32_t flags, uint32_t mode) {
    if (flags & O_PATH_)
        flags &= O_PATH_ | O_DIRECTORY_ | O_NOFOLLOW_ | O_CLOEXEC_;
    if (flags & O_TMPFILE_ & ~O_DIRECTORY_)
        return fail(Errno::opnotsupp);
    if (flags & O_ASYNC_)
        return fail(Errno::inval);
    if ((flags & O_CREAT_) && (flags & O_DIRECTORY_))
        return fail(Errno::inval);
    bool exclusive = (flags & O_CREAT_) && (flags & O_EXCL_);
    bool follow = !(flags & O_NOFOLLOW_) && !exclusive;

    path_walk walk(TRY(start_directory(at_fd, path)), path);
    TRY(walk.to_last());
    if ((flags & O_CREAT_) && walk.trailing_slash() && !walk.dot_name())
        return fail(Errno::isdir);
    for (;;) {
        ref_ptr<vnode> node = TRY(walk.last(follow));
        if (node) {
            if (exclusive)
                return fail(Errno::exist);
            return vfs_open_node(*node, flags, false);
        }
        if (!(flags & O_CREAT_))
            return fail(Errno::noent);
        if (walk.trailing_slash())
            return fail(Errno::isdir);
        TRY(check_create(walk.directory()));
        auto made = TRY(walk.directory().create_nameless(
            node_for_caller(walk.directory(), S_IFREG_ | (mode & 07777))));
        auto opened = TRY(vfs_open_node(*made, flags, true));
        at_sync_point(sync_point::about_to_publish);
        status entered = walk.directory().enter(walk.name(), *made);
        if (entered)
            return opened;
        // Somebody else was faster: then it is that file.
        if (entered.error() != Errno::exist || exclusive)
            return fail(entered.error());
    }
}

expected<ref_ptr<file>> vfs_open(const char* path, uint32_t flags, uint32_t mode) {
    return vfs_open_at(at_fdcwd, path, flags, mode);
}

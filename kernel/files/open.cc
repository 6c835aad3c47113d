// open(2): from a path and flags to a file.
#include "kernel/files/file.h"
#include "kernel/files/lookup.h"
#include "kernel/files/permission.h"
#include "kernel/files/vfs.h"
#include "kernel/files/vnode_file.h"
#include "kernel/process/sync_point.h"
#include "kernel/process/thread.h"

using namespace linux_abi;

// What a description keeps; the rest of the flags are for the act of opening.
static constexpr uint32_t kept_flags = o_accmode | o_append | o_nonblock | o_sync | o_noatime |
                                       o_largefile | o_directory | o_nofollow | o_path;

static uint32_t wanted_access(uint32_t flags) {
    static constexpr uint32_t by_mode[4] = {may_read, may_write, may_read | may_write,
                                            may_read | may_write};
    return by_mode[flags & o_accmode] | (flags & o_trunc ? uint32_t(may_write) : 0);
}

expected<ref_ptr<file>> vfs_open_node(vnode& node, uint32_t flags, bool created) {
    bool device = node.type() == s_ifchr || node.type() == s_ifblk;
    if (flags & o_path) {
        if ((flags & o_directory) && !node.is_directory())
            return fail(Errno::notdir);
        return path_file_open(node, flags & kept_flags);
    }
    if (node.is_symlink())
        return fail(Errno::loop);
    if ((flags & o_directory) && !node.is_directory())
        return fail(Errno::notdir);
    uint32_t wanted = wanted_access(flags);
    if (node.is_directory() && ((wanted & may_write) || (flags & o_creat)))
        return fail(Errno::isdir);
    if (!created)
        TRY(check_access(node, wanted));
    if (device && (node.fs().mount_flags() & ms_nodev))
        return fail(Errno::acces);
    if ((flags & o_noatime) && !is_owner(node))
        return fail(Errno::perm);
    if ((flags & o_direct) && node.is_regular())
        return fail(Errno::inval);

    bool writing = node.is_regular() && (wanted & may_write);
    if (writing)
        TRY(node.get_write_access());
    auto opened = node.open(flags & (kept_flags | o_noctty));
    status done;
    // The last step, since it cannot be taken back. It is a write, even through a description that
    // is for reading.
    if (opened && writing && (flags & o_trunc) && !created)
        done = node.truncate(0);
    // The description gives write access back when it ends, if it is for writing.
    if (writing && (!opened || !(*opened)->writable()))
        node.put_write_access();
    if (!done)
        return fail(done.error());
    return opened;
}

expected<ref_ptr<file>> vfs_open_at(int at_fd, const char* path, uint32_t flags, uint32_t mode) {
    if (flags & o_path)
        flags &= o_path | o_directory | o_nofollow | o_cloexec;
    if (flags & o_tmpfile & ~o_directory)
        return fail(Errno::opnotsupp);
    if (flags & o_async)
        return fail(Errno::inval);
    if ((flags & o_creat) && (flags & o_directory))
        return fail(Errno::inval);
    bool exclusive = (flags & o_creat) && (flags & o_excl);
    bool follow = !(flags & o_nofollow) && !exclusive;

    path_walk walk(TRY(start_directory(at_fd, path)), path);
    TRY(walk.to_last());
    if ((flags & o_creat) && walk.trailing_slash() && !walk.dot_name())
        return fail(Errno::isdir);
    for (;;) {
        ref_ptr<vnode> node = TRY(walk.last(follow));
        if (node) {
            if (exclusive)
                return fail(Errno::exist);
            return vfs_open_node(*node, flags, false);
        }
        if (!(flags & o_creat))
            return fail(Errno::noent);
        if (walk.trailing_slash())
            return fail(Errno::isdir);
        TRY(check_create(walk.directory()));
        auto made = TRY(walk.directory().create_nameless(
            node_for_caller(walk.directory(), s_ifreg | (mode & 07777))));
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

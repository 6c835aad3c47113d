// mount(2), umount2(2) and statfs(2).
#include "kernel/abi/syscalls.h"
#include "kernel/drivers/disks.h"
#include "kernel/files/file.h"
#include "kernel/files/lookup.h"
#include "kernel/files/path_buffer.h"
#include "kernel/files/permission.h"
#include "kernel/fs/device.h"
#include "kernel/fs/ext2/ext2.h"
#include "kernel/fs/tmpfs.h"
#include "kernel/proc/procfs.h"
#include "kernel/process/thread.h"
#include "lib/string.h"
#include "vm/phys/pool.h"

using namespace linux_abi;

namespace {

constexpr uint32_t honoured_flags = ms_rdonly | ms_nosuid | ms_nodev | ms_noexec | ms_noatime |
                                    ms_nodiratime | ms_relatime | ms_strictatime;
constexpr size_t name_size = 64;

// Whether its source is a disk: the others take any text.
bool on_disk(std::string_view type) { return type == "ext2"; }

// ENOTBLK: it is no disk's. EACCES: it cannot be written to. EBUSY: it is in use.
expected<file_system*> mount_ext2(vnode* source, const char* text, bool read_only) {
    if (!source || source->type() != s_ifblk)
        return fail(Errno::notblk);
    if (*text)
        return fail(Errno::inval);
    if (source->fs().mount_flags() & ms_nodev)
        return fail(Errno::acces);
    disk* d = disk_of(source->device());
    if (!d)
        return fail(Errno::nxio);
    if (d->is.read_only && !read_only)
        return fail(Errno::acces);
    return TRY(ext2::mount(*d, read_only));
}

// `source` is what there is by that name, or null.
expected<file_system*> make_file_system(std::string_view type, char* text, vnode* source,
                                        bool read_only) {
    if (type == "ext2")
        return TRY(mount_ext2(source, text, read_only));
    if (type == "tmpfs") {
        const tmpfs_options options = TRY(tmpfs_options::parse(text));
        const tmpfs_limits usual = tmpfs_limits::usual();
        return TRY(tmpfs::create(
            "tmpfs",
            {s_ifdir | (options.mode.value_or(s_isvtx | 0777) & 07777), options.uid.value_or(0),
             options.gid.value_or(0)},
            {options.pages.value_or(usual.pages), options.files.value_or(usual.files)}));
    }
    if (type == "devtmpfs")
        return TRY(devtmpfs_create(nullptr));
    if (type == "proc")
        return TRY(procfs_create());
    return fail(Errno::nodev);
}

struct linux_statfs {
    int64_t type, bsize;
    uint64_t blocks, bfree, bavail, files, ffree, fsid;
    int64_t namelen, frsize, flags, spare[4];
};
static_assert(sizeof(linux_statfs) == 120);

status write_statfs(vnode& node, user_ptr<void> out) {
    constexpr int64_t valid = 0x20; // ST_VALID: flags are filled in
    const file_system::space space = node.fs().get_space();
    linux_statfs s{};
    s.type = int64_t(node.fs().magic());
    s.bsize = s.frsize = space.block_size;
    s.blocks = space.blocks;
    s.bfree = space.free_blocks;
    s.bavail = space.free_blocks - space.reserved;
    s.files = space.files;
    s.ffree = space.free_files;
    s.fsid = node.fs().device();
    s.namelen = name_max;
    s.flags = valid | (node.fs().mount_flags() & honoured_flags);
    return copy_out(out.address(), &s, sizeof(s));
}

} // namespace

sysresult sys_mount(sys_string source, sys_path target, sys_string type, sys_address flags,
                    sys_address data) {
    constexpr uint64_t magic_mask = 0xffff0000, magic = 0xc0ed0000; // old programs put it there
    uint64_t wanted = flags.value;
    if ((wanted & magic_mask) == magic)
        wanted &= ~magic_mask;
    if (!is_superuser())
        return fail(Errno::perm);
    if (wanted & ~uint64_t(honoured_flags | ms_remount | ms_silent))
        return fail(Errno::inval);
    auto where = TRY(path_buffer::copy(target));
    ref_ptr<vnode> directory = TRY(lookup_path(at_fdcwd, where.c_str(), true));
    kmem_array<char> options(page_size);
    if (!options)
        return fail(Errno::nomem);
    if (data.value)
        TRY(copy_in_string(options.data(), data.address(), options.size()));
    if (wanted & ms_remount) {
        TRY(remount(*directory, uint32_t(wanted) & honoured_flags, options.data()));
        return 0;
    }
    if (!type.address.value())
        return fail(Errno::inval);
    char type_name[name_size], source_name[name_size] = "none";
    auto type_length = copy_in_string(type_name, type.address, sizeof(type_name));
    if (!type_length)
        return fail(type_length.error() == Errno::nametoolong ? Errno::nodev : type_length.error());
    ref_ptr<vnode> from;
    if (source.address.value()) {
        auto path = TRY(path_buffer::copy({source.address}));
        copy_string(source_name, sizeof(source_name), path.c_str());
        if (on_disk(type_name))
            from = TRY(lookup_path(at_fdcwd, path.c_str(), true));
    }
    file_system* fs =
        TRY(make_file_system(type_name, options.data(), from.get(), wanted & ms_rdonly));
    TRY(fs->set_mount_flags(uint32_t(wanted) & honoured_flags)); // nobody writes to it yet
    if (status s = mount_on(std::move(directory), *fs, source_name); !s) {
        fs->destroy();
        return fail(s.error());
    }
    return 0;
}

sysresult sys_umount2(sys_path target, sys_hex flags) {
    constexpr uint32_t nofollow = 8; // UMOUNT_NOFOLLOW
    if (!is_superuser())
        return fail(Errno::perm);
    if (flags.value & ~nofollow)
        return fail(Errno::inval);
    auto where = TRY(path_buffer::copy(target));
    TRY(unmount(TRY(lookup_path(at_fdcwd, where.c_str(), !(flags.value & nofollow)))));
    return 0;
}

sysresult sys_statfs(sys_path path, user_ptr<void> out) {
    auto name = TRY(path_buffer::copy(path));
    TRY(write_statfs(*TRY(lookup_path(at_fdcwd, name.c_str(), true)), out));
    return 0;
}

sysresult sys_fstatfs(sys_fd fd, user_ptr<void> out) {
    auto f = TRY(current_thread().files->get(fd));
    TRY(write_statfs(*f->node(), out));
    return 0;
}

// Files without a name, and memfd_create(2).
#include "kernel/fs/anonymous.h"

#include "kernel/fs/tmpfs.h"
#include "kernel/process.h"
#include "kernel/syscall.h"
#include "kernel/thread.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vm/uvm_aobj.h"

static std::atomic<uint64_t> next_inode{1};

// Nameless files have a device number of their own, as on Linux.
static constexpr uint64_t anonymous_device = make_device(0, 0xffff);

uint64_t anonymous_inode() { return next_inode.fetch_add(1); }

void anonymous_stat(linux_stat& out, uint32_t mode, uint64_t inode, uint64_t time) {
    if (time == 0)
        time = file_time_now();
    out = {};
    out.dev = anonymous_device;
    out.ino = inode;
    out.nlink = 1;
    out.mode = mode;
    process& self = current_process();
    {
        lock_guard guard(self.lock);
        out.uid = self.cred.fsuid;
        out.gid = self.cred.fsgid;
    }
    out.blksize = page_size;
    linux_timespec t{int64_t(time / nanos_per_second), int64_t(time % nanos_per_second)};
    out.atime = out.mtime = out.ctime = t;
}

// ---- memfd_create ----------------------------------------------------------------------------

enum : uint32_t { MFD_CLOEXEC_ = 1 };

// The file system that holds the nodes of all memory files; it is mounted nowhere.
static expected<tmpfs*> memory_file_system() {
    static sleep_lock lock{lock_rank::mount, "memfd file system"};
    static tmpfs* fs;
    lock_guard guard(lock);
    if (!fs)
        fs = TRY(tmpfs::create("tmpfs", {S_IFDIR_ | 0700, 0, 0}));
    return fs;
}

sysresult sys_memfd_create(sys_string name, sys_hex flags) {
    constexpr size_t longest = 249; // as on Linux: NAME_MAX without "memfd:"
    if (flags.value & ~MFD_CLOEXEC_)
        return fail(Errno::inval);
    char text[longest + 1];
    auto length = copy_in_string(text, name.address, sizeof(text));
    if (!length)
        return fail(length.error() == Errno::nametoolong ? Errno::inval : length.error());

    tmpfs* fs = TRY(memory_file_system());
    new_node is{S_IFREG_ | 0777, 0, 0};
    {
        process& self = current_process();
        lock_guard guard(self.lock);
        is.uid = self.cred.fsuid;
        is.gid = self.cred.fsgid;
    }
    ref_ptr<tmpfs_node> node = TRY(fs->create_node(is));
    char shown[64];
    format_to(shown, sizeof(shown), "/memfd:%s (deleted)", text);
    node->memory()->set_identity(shown, fs->device(), node->inode());
    auto opened = TRY(node->open(O_RDWR_ | O_LARGEFILE_));
    TRY(node->get_write_access());
    opened->set_node(std::move(node));
    return TRY(current_thread().files->install(std::move(opened), flags.value & MFD_CLOEXEC_));
}

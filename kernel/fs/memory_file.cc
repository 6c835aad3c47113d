// memfd_create(2): files of memory that no directory has.
#include "kernel/abi/files.h"
#include "kernel/abi/syscalls.h"
#include "kernel/files/file.h"
#include "kernel/files/permission.h"
#include "kernel/files/vfs.h"
#include "kernel/fs/tmpfs.h"
#include "kernel/process/thread.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vm/uvm_aobj.h"

using namespace linux_abi;

// The file system that holds the nodes of all memory files; it is mounted nowhere. It has no limit,
// as on Linux: the files go with the processes that have them open, and are charged for.
static expected<tmpfs*> memory_file_system() {
    static sleep_lock lock{lock_rank::mount, "memfd file system"};
    static tmpfs* fs;
    lock_guard guard(lock);
    if (!fs)
        fs = TRY(tmpfs::create("tmpfs", {s_ifdir | 0700, 0, 0}, {}));
    return fs;
}

sysresult sys_memfd_create(sys_string name, sys_hex flags) {
    constexpr size_t longest = 249; // as on Linux: NAME_MAX without "memfd:"
    if (flags.value & ~(mfd_cloexec | mfd_allow_sealing))
        return fail(Errno::inval);
    char text[longest + 1];
    auto length = copy_in_string(text, name.address, sizeof(text));
    if (!length)
        return fail(length.error() == Errno::nametoolong ? Errno::inval : length.error());

    tmpfs* fs = TRY(memory_file_system());
    const file_owner owner = owner_for_caller();
    ref_ptr<tmpfs_node> node = TRY(fs->create_node({s_ifreg | 0777, owner.uid, owner.gid}));
    if (flags.value & mfd_allow_sealing)
        node->allow_seals();
    char shown[64];
    format_to(shown, sizeof(shown), "/memfd:%s (deleted)", text);
    node->memory()->set_identity(shown, fs->device(), node->inode());
    auto opened = TRY(vfs_open_node(*node, o_rdwr | o_largefile, true));
    return TRY(current_thread().files->install(std::move(opened), flags.value & mfd_cloexec));
}

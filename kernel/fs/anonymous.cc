// Files without a name: anon_inodefs, and memfd_create(2). pipefs is in pipe.cc.
#include "kernel/fs/anonymous.h"

#include "kernel/base/panic.h"
#include "kernel/files/permission.h"
#include "kernel/files/vfs.h"
#include "kernel/fs/tmpfs.h"
#include "kernel/process/thread.h"
#include "kernel/syscall/syscall.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vm/phys/pool.h"
#include "vm/uvm_aobj.h"

#include <iterator>

void nameless_file_system::destroy() { panic("%s is mounted nowhere", type()); }

// ---- Files that are nothing but a description ------------------------------------------------

namespace {

nameless_file_system anon_inodefs{"anon_inodefs", 0x09041934};

class anon_inode final : public vnode {
public:
    anon_inode(uint64_t inode, const char* name)
        : vnode(anon_inodefs, inode, {0600, 0, 0}), name_(name) {}
    void last_reference_gone() override { panic("%s: nobody refers to it", name_); }
    expected<ref_ptr<file>> open(uint32_t) override { return fail(Errno::nxio); }
    void pseudo_path(char* out, size_t size) override {
        format_to(out, size, "anon_inode:[%s]", name_);
    }

private:
    status attributes_changeable() override { return fail(Errno::opnotsupp); } // it is everybody's

    const char* const name_;
};

constexpr const char* kind_names[] = {"afork", "eventfd", "pidfd", "signalfd", "timerfd"};
constinit pool<anon_inode> anon_inodes{"anon_inode"};
anon_inode* nodes[std::size(kind_names)]; // set once

} // namespace

vnode& anonymous_node(anonymous_kind kind) { return *nodes[size_t(kind)]; }

void anonymous_init() {
    const uint64_t inode = anon_inodefs.new_inode();
    for (size_t i = 0; i < std::size(kind_names); i++)
        if (!(nodes[i] = anon_inodes.create(inode, kind_names[i])))
            panic("no memory for %s", anon_inodefs.type());
}

// ---- memfd_create ----------------------------------------------------------------------------

enum : uint32_t { MFD_CLOEXEC_ = 1, MFD_ALLOW_SEALING_ = 2 };

// The file system that holds the nodes of all memory files; it is mounted nowhere. It has no limit,
// as on Linux: the files go with the processes that have them open, and are charged for.
static expected<tmpfs*> memory_file_system() {
    static sleep_lock lock{lock_rank::mount, "memfd file system"};
    static tmpfs* fs;
    lock_guard guard(lock);
    if (!fs)
        fs = TRY(tmpfs::create("tmpfs", {S_IFDIR_ | 0700, 0, 0}, {}));
    return fs;
}

sysresult sys_memfd_create(sys_string name, sys_hex flags) {
    constexpr size_t longest = 249; // as on Linux: NAME_MAX without "memfd:"
    if (flags.value & ~(MFD_CLOEXEC_ | MFD_ALLOW_SEALING_))
        return fail(Errno::inval);
    char text[longest + 1];
    auto length = copy_in_string(text, name.address, sizeof(text));
    if (!length)
        return fail(length.error() == Errno::nametoolong ? Errno::inval : length.error());

    tmpfs* fs = TRY(memory_file_system());
    const file_owner owner = owner_for_caller();
    ref_ptr<tmpfs_node> node = TRY(fs->create_node({S_IFREG_ | 0777, owner.uid, owner.gid}));
    if (flags.value & MFD_ALLOW_SEALING_)
        node->allow_seals();
    char shown[64];
    format_to(shown, sizeof(shown), "/memfd:%s (deleted)", text);
    node->memory()->set_identity(shown, fs->device(), node->inode());
    auto opened = TRY(vfs_open_node(*node, O_RDWR_ | O_LARGEFILE_, true));
    return TRY(current_thread().files->install(std::move(opened), flags.value & MFD_CLOEXEC_));
}

// The files that there are at boot.
#include "kernel/fs/initial_tree.h"

#include "arch/boot_info.h"
#include "arch/memory.h"
#include "kernel/base/cmdline.h"
#include "kernel/base/printk.h"
#include "kernel/drivers/disks.h"
#include "kernel/files/anonymous.h"
#include "kernel/files/epoll.h"
#include "kernel/files/mount.h"
#include "kernel/files/vfs.h"
#include "kernel/fs/cpio.h"
#include "kernel/fs/device.h"
#include "kernel/fs/devpts.h"
#include "kernel/fs/ext2/ext2.h"
#include "kernel/fs/tmpfs.h"
#include "lib/assert.h"
#include "lib/string.h"
#include "vm/phys/vm_page.h"

#include <algorithm>
#include <string_view>

using namespace linux_abi;

template <class T> static T need(expected<T> result, const char* what) {
    if (!result)
        panic("the initial file system: %s: %s", what, errno_name(result.error()));
    return std::move(*result);
}

// A module's whole pages serve as ordinary memory as soon as they are read: with the files that are
// made of them it is in memory once, not twice.
class module_memory final : public cpio_memory {
public:
    explicit module_memory(const boot_module& module)
        : next_(page_round_up(module.start.value())),
          end_(page_round_down(module.start.value() + module.size)) {}
    void read_until(const char* end) override {
        const uint64_t until = page_round_down(direct_map_address(end).value());
        if (until >= next_ + batch)
            give(until);
    }
    void give_rest() { give(end_); }

private:
    void give(uint64_t until) {
        if (until > next_)
            vm_page_add_range(paddr_t(next_), until - next_);
        next_ = std::max(next_, until);
    }
    static constexpr uint64_t batch = 64 * page_size;
    uint64_t next_; // physical addresses: what lies before it is given
    const uint64_t end_;
};

namespace {

// The root is in memory, and what the boot modules hold is put there. The quota of its pages is what
// /dev is under, too: everybody may write to /tmp and to /dev/shm, and together they have one half of
// memory, not two.
ref_ptr<page_quota> mount_root_archive(boot_info& info) {
    tmpfs* fs = need(tmpfs::create("tmpfs", {s_ifdir | 0755, 0, 0}, {}), "root");
    if (status s = mount_root(*fs, "root"); !s)
        panic("the root file system cannot be mounted");
    for (size_t i = 0; i < info.module_count; i++) {
        const boot_module& module = info.modules[i];
        std::string_view archive(direct_map_as<const char>(module.start), module.size);
        if (!cpio_recognised(archive)) {
            printk("boot module %zu is not a newc cpio archive: left alone", i);
            continue;
        }
        module_memory memory(module);
        cpio_statistics done = need(cpio_unpack(archive, root_directory(), &memory), "unpacking");
        memory.give_rest();
        printk("root file system: %u files and directories, %llu KiB%s", done.entries,
               (unsigned long long)done.bytes / 1024, done.damaged ? ", archive damaged" : "");
    }
    fs->allow_more(tmpfs_limits::usual());
    return fs->quota();
}

disk* disk_named(std::string_view path) {
    constexpr std::string_view dev = "/dev/";
    for (disk* d = disk_next(nullptr); path.starts_with(dev) && d; d = disk_next(d))
        if (path.substr(dev.size()) == d->is.name)
            return d;
    return nullptr;
}

// The root is on a disk, and what the boot modules hold is not wanted.
ref_ptr<page_quota> mount_root_disk(boot_info& info, const char* path) {
    disk* d = disk_named(path);
    if (!d)
        panic("root=%s: there is no such disk", path);
    const bool read_only = cmdline_has("ro") || d->is.read_only;
    ext2* fs = need(ext2::mount(*d, read_only), path);
    if (!fs->set_mount_flags(read_only ? uint32_t{ms_rdonly} : 0) || !mount_root(*fs, path))
        panic("the root file system cannot be mounted");
    for (size_t i = 0; i < info.module_count; i++)
        module_memory(info.modules[i]).give_rest();
    printk("root file system: %s, %s", path, read_only ? "read-only" : "to be written to");
    return need(page_quota::create(tmpfs_limits::usual().pages), "a quota");
}

} // namespace

void vfs_init(boot_info& info) {
    anonymous_init();
    epoll_init(vm_page_total() * page_size);
    char disk[64];
    const ref_ptr<page_quota> quota = cmdline_value("root=", disk, sizeof disk)
                                          ? mount_root_disk(info, disk)
                                          : mount_root_archive(info);
    ref_ptr<vnode> root = root_directory();
    auto dev = root->lookup("dev");
    if (!dev)
        dev = root->create("dev", {s_ifdir | 0755, 0, 0});
    tmpfs* devices = need(devtmpfs_create(quota), "/dev");
    if (status s = mount_on(need(std::move(dev), "/dev"), *devices, "devtmpfs"); !s)
        panic("/dev cannot be mounted: %s", errno_name(s.error()));
    if (status s = mount_on(need(devices->root()->lookup("pts"), "/dev/pts"), devpts(), "devpts");
        !s)
        panic("/dev/pts cannot be mounted: %s", errno_name(s.error()));
}

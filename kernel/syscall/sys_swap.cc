// swapon(2) and swapoff(2). The first swapon starts the page daemon.
#include "kernel/abi/syscalls.h"
#include "kernel/drivers/disks.h"
#include "kernel/files/lookup.h"
#include "kernel/files/path_buffer.h"
#include "kernel/files/permission.h"
#include "kernel/fs/file_daemons.h"
#include "vm/uvm_swap.h"
#include "vm/uvm_swapoff.h"

using namespace linux_abi;

namespace {

constexpr uint32_t swap_prefer = 0x8000, swap_priority = 0x7fff; // SWAP_FLAG_PREFER and its number
constexpr uint32_t swap_discard = 0x70000;                       // hints to the device
constexpr uint32_t known_flags = swap_prefer | swap_priority | swap_discard;

// EINVAL: it is no disk. A file of tmpfs is in memory, where swapping to it would end.
expected<disk*> disk_at(const sys_path& path) {
    auto name = TRY(path_buffer::copy(path));
    ref_ptr<vnode> node = TRY(lookup_path(at_fdcwd, name.c_str(), true));
    disk* d = node->type() == s_ifblk ? disk_of(node->device()) : nullptr;
    if (!d)
        return fail(Errno::inval);
    return d;
}

} // namespace

sysresult sys_swapon(sys_path path, sys_hex flags) {
    if (flags.value & ~uint64_t{known_flags})
        return fail(Errno::inval);
    if (!is_superuser())
        return fail(Errno::perm);
    disk& d = *TRY(disk_at(path));
    if (!d.claim())
        return fail(Errno::busy);
    status on = uvm_swap::on(d, flags.value & swap_prefer ? int(flags.value & swap_priority) : -1);
    if (on)
        if (on = start_page_daemon(); !on)
            (void)uvm_swapoff(d); // nothing has gone there yet
    if (on)
        return 0;
    d.release();
    return fail(on.error());
}

sysresult sys_swapoff(sys_path path) {
    if (!is_superuser())
        return fail(Errno::perm);
    disk& d = *TRY(disk_at(path));
    TRY(uvm_swapoff(d));
    d.release();
    return 0;
}

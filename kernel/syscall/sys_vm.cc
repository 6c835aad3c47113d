// The system calls of memory: what of mmap(2) and its kin is about files, flags and limits. The
// rest is vmspace's.
#include "arch/memory.h"
#include "kernel/abi/memory.h"
#include "kernel/abi/syscalls.h"
#include "kernel/files/file.h"
#include "kernel/files/mount.h"
#include "kernel/files/vfs.h"
#include "kernel/files/vnode.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "vm/phys/pool.h"
#include "vm/uvm_aobj.h"
#include "vm/vmspace.h"

#include <algorithm>

using namespace linux_abi;

namespace {

// What MAP_SHARED_VALIDATE lets through; the older types ignore what they do not know.
constexpr uint32_t known_map_flags = map_type | map_fixed | map_anonymous | map_32bit |
                                     map_growsdown | map_denywrite | map_executable | map_locked |
                                     map_noreserve | map_populate | map_nonblock | map_stack |
                                     map_fixed_noreplace;
constexpr uint32_t prot_bits = 7;

// Whether the caller may map at addresses that are kept from everybody else (CAP_SYS_RAWIO).
bool may_map_low() {
    process& self = current_process();
    lock_guard guard(self.lock);
    return self.context->cred.superuser();
}

// EPERM for one who may lock nothing at all.
status may_lock() {
    process& self = current_process();
    lock_guard guard(self.lock);
    if (!self.context->cred.superuser() && self.limits[rlimit_memlock].current == 0)
        return fail(Errno::perm);
    return {};
}

// The object behind a file mapping, and the most that mprotect may ever allow.
status map_file(map_request& request, ref_ptr<file> f, uint32_t flags) {
    if ((flags & map_type) == map_shared_validate && (flags & ~known_map_flags))
        return fail(Errno::opnotsupp);
    if (request.offset > uint64_t{INT64_MAX} - request.size)
        return fail(Errno::overflow);
    if (!f->readable())
        return fail(Errno::acces);
    if (request.shared && !f->writable()) {
        if (allows(request.prot, vm_prot::write))
            return fail(Errno::acces);
        request.max_prot = vm_prot::rx;
    }
    if (flags & map_growsdown)
        return fail(Errno::inval);
    if (f->node()->fs().mount_flags() & ms_noexec) {
        if (allows(request.prot, vm_prot::execute))
            return fail(Errno::perm);
        request.max_prot = request.max_prot & ~vm_prot::execute;
    }
    vfs_name_memory(*f->node());
    if (request.shared)
        TRY(f->limit_sharing(request.prot, request.max_prot));
    request.object = TRY(f->mmap_object());
    if (request.object)
        request.handle = std::move(f);
    if (!request.object) { // anonymous memory, by the name of a device
        request.offset = 0;
        request.tag = request.shared ? nullptr : "/dev/zero";
    }
    return {};
}

} // namespace

sysresult sys_mmap(sys_address address, uint64_t size, sys_prot prot, sys_map_flags map_flags,
                   sys_fd fd, sys_address offset) {
    const auto flags = uint32_t(map_flags.value);
    const uint32_t type = flags & map_type;
    if (!vaddr_t(offset.value).page_aligned())
        return fail(Errno::inval);
    ref_ptr<file> f;
    if (!(flags & map_anonymous)) {
        f = TRY(current_thread().files->get(fd));
        if (f->flags() & o_path)
            return fail(Errno::badf);
    }
    if (size == 0)
        return fail(Errno::inval);
    if (size > user_max.value())
        return fail(Errno::nomem);
    if (type != map_shared && type != map_private && (type != map_shared_validate || !f))
        return fail(Errno::inval);
    if (flags & map_hugetlb) // there are none
        return fail(Errno::inval);

    map_request request;
    request.size = size;
    request.address = address.address();
    request.prot = vm_prot(uint32_t(prot.value) & prot_bits);
    request.shared = type != map_private;
    request.fixed = flags & (map_fixed | map_fixed_noreplace);
    request.no_replace = flags & map_fixed_noreplace;
    request.below_minimum = may_map_low();
    request.no_reserve = flags & map_noreserve;
    request.populate = flags & map_populate && !(flags & map_nonblock);
    request.locked = flags & map_locked;
    request.low = flags & map_32bit;
    if (request.locked)
        TRY(may_lock());
    request.stack = flags & map_growsdown;
    if (!request.fixed)
        request.address = request.address.page_down();
    if (f) {
        request.offset = offset;
        TRY(map_file(request, std::move(f), flags));
    } else if (request.shared && request.stack) {
        return fail(Errno::inval);
    }
    return int64_t(TRY(current_vmspace().map(request)).value());
}

sysresult sys_mprotect(sys_address address, uint64_t size, sys_prot prot) {
    const auto bits = uint32_t(prot.value);
    if (bits & ~(prot_bits | prot_growsdown)) // no stack grows up
        return fail(Errno::inval);
    if (!address.address().page_aligned())
        return fail(Errno::inval);
    if (size == 0)
        return 0;
    if (address + page_round_up(size) < address || page_round_up(size) < size)
        return fail(Errno::nomem);
    TRY(current_vmspace().protect(address.address(), size, vm_prot(bits & prot_bits),
                                  bits & prot_growsdown));
    return 0;
}

sysresult sys_munmap(sys_address address, uint64_t size) {
    TRY(current_vmspace().unmap(address.address(), size));
    return 0;
}

sysresult sys_brk(sys_address wanted) {
    return int64_t(current_vmspace().set_brk(wanted.address()).value());
}

sysresult sys_mremap(sys_address old, uint64_t old_size, uint64_t new_size, sys_hex flags,
                     sys_address to) {
    return int64_t(TRY(current_vmspace().remap(old.address(), old_size, new_size, int(flags.value),
                                               to.address(), may_map_low()))
                       .value());
}

sysresult sys_msync(sys_address address, uint64_t size, sys_hex flags) {
    TRY(current_vmspace().sync(address.address(), size, int(flags.value)));
    return 0;
}

sysresult sys_mincore(sys_address address, uint64_t size, user_ptr<uint8_t> vec) {
    if (!address.address().page_aligned())
        return fail(Errno::inval);
    if (page_round_up(size) < size || address + size < address || address + size > user_max.value())
        return fail(Errno::nomem);
    constexpr uint64_t pages_at_once = page_size;
    kmem_array<uint8_t> answers(pages_at_once);
    if (!answers)
        return fail(Errno::again);
    const uint64_t pages = pages_of(size);
    for (uint64_t done = 0; done < pages;) {
        uint64_t n = std::min(pages - done, pages_at_once);
        TRY(current_vmspace().mincore(address.address() + done * page_size, n * page_size,
                                      answers.data()));
        TRY(copy_out(vec.address() + done, answers.data(), n));
        done += n;
    }
    return 0;
}

sysresult sys_madvise(sys_address address, uint64_t size, int32_t advice) {
    TRY(current_vmspace().advise(address.address(), size, advice));
    return 0;
}

// A call of BSD's. The numbers are NetBSD's, where 3 was once another kind.
sysresult sys_minherit(sys_address address, uint64_t size, int32_t inherit) {
    vm_inherit value;
    switch (inherit) {
    case 0: value = vm_inherit::share; break;
    case 1: value = vm_inherit::copy; break;
    case 2: value = vm_inherit::none; break;
    case 4: value = vm_inherit::zero; break;
    default: return fail(Errno::inval);
    }
    TRY(current_vmspace().inherit(address.address(), size, value));
    return 0;
}

sysresult sys_mlock(sys_address address, uint64_t size) {
    TRY(may_lock());
    TRY(current_vmspace().lock_pages(address.address(), size));
    return 0;
}

sysresult sys_munlock(sys_address address, uint64_t size) {
    TRY(current_vmspace().unlock_pages(address.address(), size));
    return 0;
}

sysresult sys_mlock2(sys_address address, uint64_t size, sys_hex flags) {
    if (flags & ~mlock_onfault)
        return fail(Errno::inval);
    TRY(may_lock());
    TRY(current_vmspace().lock_pages(address.address(), size, flags & mlock_onfault));
    return 0;
}

sysresult sys_mlockall(sys_hex flags) {
    using wiring = vmspace::wiring;
    if (!(flags & (mcl_current | mcl_future)) ||
        (flags & ~(mcl_current | mcl_future | mcl_onfault)))
        return fail(Errno::inval);
    TRY(may_lock());
    const wiring how = flags & mcl_onfault ? wiring::on_fault : wiring::at_once;
    TRY(current_vmspace().lock_all(flags & mcl_current ? how : wiring::none,
                                   flags & mcl_future ? how : wiring::none));
    return 0;
}

sysresult sys_munlockall() {
    current_vmspace().unlock_all();
    return 0;
}

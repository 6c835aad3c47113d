// process_vm_readv(2), process_vm_writev(2): from the memory of one process to that of another; and
// process_madvise(2).
#include "kernel/abi/syscalls.h"
#include "kernel/base/uio.h"
#include "kernel/files/file.h"
#include "kernel/files/permission.h"
#include "kernel/process/call_memory.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "lib/long_work.h"
#include "vm/vmspace.h"

#include <algorithm>

namespace {

constexpr uint64_t most_segments = 1024; // IOV_MAX

// EINVAL, EFAULT, ENOMEM.
expected<call_array<uio_segment>> copy_segments(user_ptr<const linux_iovec> from, uint64_t count) {
    if (count > most_segments)
        return fail(Errno::inval);
    call_array<uio_segment> segments(std::max<uint64_t>(count, 1));
    if (!segments)
        return fail(Errno::nomem);
    static_assert(sizeof(uio_segment) == sizeof(linux_iovec));
    TRY(copy_in(segments.data(), from.address(), count * sizeof(linux_iovec)));
    uint64_t total = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (int64_t(segments[i].size) < 0)
            return fail(Errno::inval);
        segments[i].size = std::min(segments[i].size, uio_max - total);
        total += segments[i].size;
    }
    return segments;
}

// ESRCH; `refused`.
expected<ref_ptr<vmspace>> memory_of(process* p, access_mode as, Errno refused) {
    if (!p)
        return fail(Errno::srch);
    const auto context = process_context(*p);
    if (!context->vm)
        return fail(Errno::srch);
    if (!may_access(*p, *context, as))
        return fail(refused);
    return context->vm;
}

// Page by page of the other process, through a page of the kernel's: neither side's locks are held
// while the other side takes its faults.
sysresult transfer(uio::direction way, pid_t pid, user_ptr<const linux_iovec> local,
                   uint64_t local_count, user_ptr<const linux_iovec> remote, uint64_t remote_count,
                   uint64_t flags) {
    if (flags != 0)
        return fail(Errno::inval);
    call_array<uio_segment> mine = TRY(copy_segments(local, local_count));
    uio io(way, mine.data(), local_count);
    if (io.remaining() == 0)
        return 0;
    call_array<uio_segment> theirs = TRY(copy_segments(remote, remote_count));
    ref_ptr<vmspace> vm =
        TRY(memory_of(process_find(pid).get(), access_mode::realcreds, Errno::perm));
    call_array<char> page(page_size);
    if (!page)
        return fail(Errno::nomem);
    status moved;
    for (uint64_t i = 0; i < remote_count && moved; i++) {
        uio_segment rest = theirs[i];
        while (rest.size && io.remaining() && moved) {
            const vaddr_t at(rest.address);
            const uint64_t n =
                std::min({rest.size, io.remaining(), uint64_t{page_size - at.page_offset()}});
            if (way == uio::direction::read) {
                moved = vm->read_memory(at, page.data(), n);
                if (moved)
                    moved = io.move(page.data(), n);
            } else {
                // What cannot be stored there has not been moved.
                uint64_t before = io.moved();
                moved = io.move(page.data(), n);
                status stored = vm->write_memory(at, page.data(), io.moved() - before);
                if (!stored)
                    return before ? sysresult(int64_t(before)) : fail(stored.error());
            }
            rest.address += n;
            rest.size -= n;
            if (moved)
                moved = long_work::go_on();
        }
    }
    return io.result(moved);
}

} // namespace

sysresult sys_process_vm_readv(sys_pid pid, user_ptr<const linux_iovec> local, uint64_t local_count,
                               user_ptr<const linux_iovec> remote, uint64_t remote_count,
                               uint64_t flags) {
    return transfer(uio::direction::read, pid, local, local_count, remote, remote_count, flags);
}

sysresult sys_process_vm_writev(sys_pid pid, user_ptr<const linux_iovec> local,
                                uint64_t local_count, user_ptr<const linux_iovec> remote,
                                uint64_t remote_count, uint64_t flags) {
    return transfer(uio::direction::write, pid, local, local_count, remote, remote_count, flags);
}

// Of its own memory, too, only for who may change how fast others run (CAP_SYS_NICE).
sysresult sys_process_madvise(sys_fd pidfd, user_ptr<const linux_iovec> ranges, uint64_t count,
                              int32_t advice, uint64_t flags) {
    if (flags != 0)
        return fail(Errno::inval);
    const call_array<uio_segment> pieces = TRY(copy_segments(ranges, count));
    const ref_ptr<file> of = TRY(current_thread().files->get(pidfd));
    process* const p = of->pidfd_process();
    if (!p)
        return fail(Errno::badf);
    using namespace linux_abi;
    if (advice != madv_cold && advice != madv_pageout && advice != madv_willneed)
        return fail(Errno::inval);
    const ref_ptr<vmspace> vm = TRY(memory_of(p, access_mode::fscreds, Errno::acces));
    if (!is_superuser())
        return fail(Errno::perm);
    uint64_t advised = 0;
    for (uint64_t i = 0; i < count; advised += pieces[i++].size)
        if (const status done = vm->advise(vaddr_t(pieces[i].address), pieces[i].size, advice);
            !done)
            return advised ? sysresult(int64_t(advised)) : fail(done.error());
    return int64_t(advised);
}

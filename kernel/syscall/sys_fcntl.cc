// fcntl(2) and flock(2).
#include "kernel/abi/files.h"
#include "kernel/abi/syscalls.h"
#include "kernel/files/file.h"
#include "kernel/files/file_lock.h"
#include "kernel/files/vnode.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"

using namespace linux_abi;

namespace {

struct linux_flock {
    int16_t type, whence;
    int64_t start, length;
    int32_t pid;
};
static_assert(sizeof(linux_flock) == 32);

// The bytes that a struct flock means, from the file's position or end if it says so. EINVAL
// EOVERFLOW.
status parse_range(file& f, const linux_flock& from, file_lock_request& out) {
    int64_t base = 0;
    if (from.whence == 1)
        base = TRY(f.seek(0, 1));
    else if (from.whence == 2)
        base = int64_t(f.node()->attributes().size);
    else if (from.whence != 0)
        return fail(Errno::inval);
    int64_t start, last;
    if (__builtin_add_overflow(base, from.start, &start))
        return fail(Errno::overflow);
    if (from.length > 0) {
        if (__builtin_add_overflow(start, from.length - 1, &last))
            return fail(Errno::overflow);
    } else if (from.length < 0) {
        // The bytes before the start.
        last = start - 1;
        start += from.length;
    } else {
        last = INT64_MAX; // to the end of the file, wherever that will be
    }
    if (start < 0)
        return fail(Errno::inval);
    out.first = uint64_t(start);
    out.last = uint64_t(last);
    return {};
}

sysresult record_lock(sys_fd fd, file& f, int32_t command, user_ptr<linux_flock> argument) {
    linux_flock wanted = TRY(argument.read());
    bool of_description = command >= f_ofd_getlk;
    bool query = command == f_getlk || command == f_ofd_getlk;
    bool wait = command == f_setlkw || command == f_ofd_setlkw;
    file_lock_request request{lock_domain::record, nullptr, -1, file_lock_request::none, 0, 0};
    if (of_description) {
        if (wanted.pid != 0)
            return fail(Errno::inval);
        request.owner = &f;
    } else {
        request.owner = request.table = current_thread().files.get();
        request.pid = current_process().pid;
    }
    switch (wanted.type) {
    case f_rdlck: request.kind = file_lock_request::shared; break;
    case f_wrlck: request.kind = file_lock_request::exclusive; break;
    case f_unlck:
        if (query)
            return fail(Errno::inval);
        break;
    default: return fail(Errno::inval);
    }
    TRY(parse_range(f, wanted, request));
    if (query) {
        file_lock_request found;
        if (!file_lock_conflict(*f.node(), request, found)) {
            wanted.type = f_unlck;
        } else {
            wanted.type = found.kind == file_lock_request::exclusive ? f_wrlck : f_rdlck;
            wanted.whence = 0;
            wanted.start = int64_t(found.first);
            wanted.length = found.last == INT64_MAX ? 0 : int64_t(found.last - found.first + 1);
            wanted.pid = found.pid;
        }
        TRY(argument.write(wanted));
        return 0;
    }
    if ((wanted.type == f_rdlck && !f.readable()) || (wanted.type == f_wrlck && !f.writable()))
        return fail(Errno::badf);
    TRY(file_lock_set(*f.node(), request, {fd, &f}, wait));
    return 0;
}

} // namespace

sysresult sys_fcntl(sys_fd fd, int32_t command, uint64_t argument) {
    fd_table& files = *current_thread().files;
    auto f = TRY(files.get(fd));
    switch (command) {
    case f_dupfd:
    case f_dupfd_cloexec:
        if (argument >= process_limit(rlimit_nofile) || int32_t(argument) < 0)
            return fail(Errno::inval);
        return TRY(files.install(std::move(f), command == f_dupfd_cloexec, int32_t(argument)));
    case f_getfd: return TRY(files.close_on_exec(fd)) ? int64_t(fd_cloexec) : 0;
    case f_setfd: TRY(files.set_close_on_exec(fd, argument & fd_cloexec)); return 0;
    case f_getfl: {
        constexpr uint32_t of_opening = o_creat | o_excl | o_noctty | o_trunc | o_cloexec;
        return f->flags() & ~of_opening;
    }
    default: break;
    }
    if (f->flags() & o_path)
        return fail(Errno::badf);
    switch (command) {
    case f_setfl: {
        // The access mode and the flags of opening in the argument are ignored, as POSIX has it.
        constexpr uint32_t settable = o_append | o_nonblock | o_noatime | o_direct;
        if (argument & (f->node()->type() == s_ififo ? o_async : o_async | o_direct))
            return fail(Errno::inval);
        f->set_flags((f->flags() & ~settable) | (uint32_t(argument) & settable));
        return 0;
    }
    case f_getpipe_sz: return f->pipe_size();
    case f_setpipe_sz: return f->set_pipe_size(uint32_t(argument));
    case f_add_seals:
        if (!f->writable())
            return fail(Errno::perm);
        TRY(f->add_seals(uint32_t(argument)));
        return 0;
    case f_get_seals: return f->seals();
    case f_getlk:
    case f_setlk:
    case f_setlkw:
    case f_ofd_getlk:
    case f_ofd_setlk:
    case f_ofd_setlkw: return record_lock(fd, *f, command, user_ptr<linux_flock>(argument));
    default: return fail(Errno::inval);
    }
}

sysresult sys_flock(sys_fd fd, int32_t operation) {
    auto f = TRY(current_thread().files->get(fd));
    if (f->flags() & o_path)
        return fail(Errno::badf);
    file_lock_request request{lock_domain::whole_file, f.get(), -1,
                              file_lock_request::none, 0,       UINT64_MAX};
    switch (operation & ~lock_nb) {
    case lock_sh: request.kind = file_lock_request::shared; break;
    case lock_ex: request.kind = file_lock_request::exclusive; break;
    case lock_un: break;
    default: return fail(Errno::inval);
    }
    TRY(file_lock_set(*f->node(), request, {fd, f.get()}, !(operation & lock_nb)));
    return 0;
}

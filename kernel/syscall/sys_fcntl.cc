// fcntl(2) and flock(2).
#include "kernel/abi/syscalls.h"
#include "kernel/files/file.h"
#include "kernel/files/file_lock.h"
#include "kernel/files/vnode.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"

namespace {

enum : int32_t {
    F_DUPFD_ = 0,
    F_GETFD_ = 1,
    F_SETFD_ = 2,
    F_GETFL_ = 3,
    F_SETFL_ = 4,
    F_GETLK_ = 5,
    F_SETLK_ = 6,
    F_SETLKW_ = 7,
    F_OFD_GETLK_ = 36,
    F_OFD_SETLK_ = 37,
    F_OFD_SETLKW_ = 38,
    F_DUPFD_CLOEXEC_ = 1030,
    F_SETPIPE_SZ_ = 1031,
    F_GETPIPE_SZ_ = 1032,
    F_ADD_SEALS_ = 1033,
    F_GET_SEALS_ = 1034,
};
enum : int16_t { F_RDLCK_, F_WRLCK_, F_UNLCK_ };
enum : uint64_t { FD_CLOEXEC_ = 1 };
enum : int32_t { LOCK_SH_ = 1, LOCK_EX_ = 2, LOCK_NB_ = 4, LOCK_UN_ = 8 };

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
    bool of_description = command >= F_OFD_GETLK_;
    bool query = command == F_GETLK_ || command == F_OFD_GETLK_;
    bool wait = command == F_SETLKW_ || command == F_OFD_SETLKW_;
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
    case F_RDLCK_: request.kind = file_lock_request::shared; break;
    case F_WRLCK_: request.kind = file_lock_request::exclusive; break;
    case F_UNLCK_:
        if (query)
            return fail(Errno::inval);
        break;
    default: return fail(Errno::inval);
    }
    TRY(parse_range(f, wanted, request));
    if (query) {
        file_lock_request found;
        if (!file_lock_conflict(*f.node(), request, found)) {
            wanted.type = F_UNLCK_;
        } else {
            wanted.type = found.kind == file_lock_request::exclusive ? F_WRLCK_ : F_RDLCK_;
            wanted.whence = 0;
            wanted.start = int64_t(found.first);
            wanted.length = found.last == INT64_MAX ? 0 : int64_t(found.last - found.first + 1);
            wanted.pid = found.pid;
        }
        TRY(argument.write(wanted));
        return 0;
    }
    if ((wanted.type == F_RDLCK_ && !f.readable()) || (wanted.type == F_WRLCK_ && !f.writable()))
        return fail(Errno::badf);
    TRY(file_lock_set(*f.node(), request, {fd, &f}, wait));
    return 0;
}

} // namespace

sysresult sys_fcntl(sys_fd fd, int32_t command, uint64_t argument) {
    fd_table& files = *current_thread().files;
    auto f = TRY(files.get(fd));
    switch (command) {
    case F_DUPFD_:
    case F_DUPFD_CLOEXEC_:
        if (argument >= process_limit(RLIMIT_NOFILE_) || int32_t(argument) < 0)
            return fail(Errno::inval);
        return TRY(files.install(std::move(f), command == F_DUPFD_CLOEXEC_, int32_t(argument)));
    case F_GETFD_: return TRY(files.close_on_exec(fd)) ? int64_t(FD_CLOEXEC_) : 0;
    case F_SETFD_: TRY(files.set_close_on_exec(fd, argument & FD_CLOEXEC_)); return 0;
    case F_GETFL_: {
        constexpr uint32_t of_opening = O_CREAT_ | O_EXCL_ | O_NOCTTY_ | O_TRUNC_ | O_CLOEXEC_;
        return f->flags() & ~of_opening;
    }
    default: break;
    }
    if (f->flags() & O_PATH_)
        return fail(Errno::badf);
    switch (command) {
    case F_SETFL_: {
        // The access mode and the flags of opening in the argument are ignored, as POSIX has it.
        constexpr uint32_t settable = O_APPEND_ | O_NONBLOCK_ | O_NOATIME_ | O_DIRECT_;
        if (argument & (f->node()->type() == S_IFIFO_ ? O_ASYNC_ : O_ASYNC_ | O_DIRECT_))
            return fail(Errno::inval);
        f->set_flags((f->flags() & ~settable) | (uint32_t(argument) & settable));
        return 0;
    }
    case F_GETPIPE_SZ_: return f->pipe_size();
    case F_SETPIPE_SZ_: return f->set_pipe_size(uint32_t(argument));
    case F_ADD_SEALS_:
        if (!f->writable())
            return fail(Errno::perm);
        TRY(f->add_seals(uint32_t(argument)));
        return 0;
    case F_GET_SEALS_: return f->seals();
    case F_GETLK_:
    case F_SETLK_:
    case F_SETLKW_:
    case F_OFD_GETLK_:
    case F_OFD_SETLK_:
    case F_OFD_SETLKW_: return record_lock(fd, *f, command, user_ptr<linux_flock>(argument));
    default: return fail(Errno::inval);
    }
}

sysresult sys_flock(sys_fd fd, int32_t operation) {
    auto f = TRY(current_thread().files->get(fd));
    if (f->flags() & O_PATH_)
        return fail(Errno::badf);
    file_lock_request request{lock_domain::whole_file, f.get(), -1,
                              file_lock_request::none, 0,       UINT64_MAX};
    switch (operation & ~LOCK_NB_) {
    case LOCK_SH_: request.kind = file_lock_request::shared; break;
    case LOCK_EX_: request.kind = file_lock_request::exclusive; break;
    case LOCK_UN_: break;
    default: return fail(Errno::inval);
    }
    TRY(file_lock_set(*f->node(), request, {fd, f.get()}, !(operation & LOCK_NB_)));
    return 0;
}

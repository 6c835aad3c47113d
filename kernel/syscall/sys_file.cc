// System calls on open files: reading, writing, descriptors.
#include "arch/memory.h"
#include "kernel/abi/syscalls.h"
#include "kernel/drivers/disks.h"
#include "kernel/files/file.h"
#include "kernel/files/lookup.h"
#include "kernel/files/mount.h"
#include "kernel/files/path_buffer.h"
#include "kernel/files/permission.h"
#include "kernel/files/pipe.h"
#include "kernel/files/vfs.h"
#include "kernel/fs/device.h"
#include "kernel/process/call_memory.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "kernel/signal/signal.h"
#include "kernel/syscall/segment_list.h"
#include "vm/uvm_vnode.h"

#include <algorithm>

using namespace linux_abi;

static fd_table& files() { return *current_thread().files; }

// The file behind a descriptor that may be read, or written. EBADF.
static expected<ref_ptr<file>> readable_file(int fd) {
    auto f = TRY(files().get(fd));
    if (!f->readable())
        return fail(Errno::badf);
    return f;
}

static expected<ref_ptr<file>> writable_file(int fd) {
    auto f = TRY(files().get(fd));
    if (!f->writable())
        return fail(Errno::badf);
    return f;
}

// The same for a read or write at a place of the file. ESPIPE comes first, as on Linux.
static expected<ref_ptr<file>> placed_file(int fd, bool (file::*usable)() const) {
    auto f = TRY(files().get(fd));
    if (!f->has_places())
        return fail(Errno::spipe);
    if (!(*f.*usable)())
        return fail(Errno::badf);
    return f;
}

// ---- read and write --------------------------------------------------------------------------

// Whether a read or write at `offset` stays where positions reach. EINVAL.
static status check_place(int64_t offset, uint64_t size) {
    if (offset < 0 || size > uint64_t(INT64_MAX - offset))
        return fail(Errno::inval);
    return {};
}

sysresult sys_read(sys_fd fd, sys_out_bytes buffer, uint64_t size) {
    auto f = TRY(readable_file(fd));
    TRY(check_range(buffer.address, size));
    uio io(uio::direction::read, buffer.address, std::min(size, uio_max));
    return f->read(io);
}

sysresult sys_write(sys_fd fd, sys_in_bytes buffer, uint64_t size) {
    auto f = TRY(writable_file(fd));
    TRY(check_range(buffer.address, size));
    uio io(uio::direction::write, buffer.address, std::min(size, uio_max));
    return f->write(io);
}

sysresult sys_pread64(sys_fd fd, sys_out_bytes buffer, uint64_t size, int64_t offset) {
    if (offset < 0)
        return fail(Errno::inval);
    auto f = TRY(placed_file(fd, &file::readable));
    TRY(check_range(buffer.address, size));
    TRY(check_place(offset, size));
    uio io(uio::direction::read, buffer.address, std::min(size, uio_max));
    return f->read_at(io, uint64_t(offset));
}

sysresult sys_pwrite64(sys_fd fd, sys_in_bytes buffer, uint64_t size, int64_t offset) {
    if (offset < 0)
        return fail(Errno::inval);
    auto f = TRY(placed_file(fd, &file::writable));
    TRY(check_range(buffer.address, size));
    TRY(check_place(offset, size));
    uio io(uio::direction::write, buffer.address, std::min(size, uio_max));
    return f->write_at(io, uint64_t(offset));
}

sysresult sys_readv(sys_fd fd, user_ptr<const linux_iovec> segments, int64_t count) {
    auto f = TRY(readable_file(fd));
    segment_list list;
    TRY(list.copy(segments, count));
    uio io(uio::direction::read, list.data(), list.size());
    return f->read(io);
}

sysresult sys_writev(sys_fd fd, user_ptr<const linux_iovec> segments, int64_t count) {
    auto f = TRY(writable_file(fd));
    segment_list list;
    TRY(list.copy(segments, count));
    uio io(uio::direction::write, list.data(), list.size());
    return f->write(io);
}

sysresult sys_preadv(sys_fd fd, user_ptr<const linux_iovec> segments, int64_t count,
                     int64_t offset) {
    if (offset < 0)
        return fail(Errno::inval);
    auto f = TRY(placed_file(fd, &file::readable));
    segment_list list;
    TRY(list.copy(segments, count));
    uio io(uio::direction::read, list.data(), list.size());
    TRY(check_place(offset, io.remaining()));
    return f->read_at(io, uint64_t(offset));
}

sysresult sys_pwritev(sys_fd fd, user_ptr<const linux_iovec> segments, int64_t count,
                      int64_t offset) {
    if (offset < 0)
        return fail(Errno::inval);
    auto f = TRY(placed_file(fd, &file::writable));
    segment_list list;
    TRY(list.copy(segments, count));
    uio io(uio::direction::write, list.data(), list.size());
    TRY(check_place(offset, io.remaining()));
    return f->write_at(io, uint64_t(offset));
}

sysresult sys_lseek(sys_fd fd, int64_t offset, sys_whence whence) {
    auto f = TRY(files().get(fd));
    return f->seek(offset, whence);
}

// ---- Copies from file to file ----------------------------------------------------------------

// One end of a copy: at a position of its own, or (none) at the file's.
struct copy_end {
    file& f;
    bool positioned;
    uint64_t position;

    expected<int64_t> read(uio& io) const {
        return positioned ? f.read_at(io, position) : f.read(io);
    }
    expected<int64_t> write(uio& io) const {
        return positioned ? f.write_at(io, position) : f.write(io);
    }
    void advance(uint64_t n) { position += positioned ? n : 0; }
    // Takes back what was read from the file's own position and found no taker.
    void unread(uint64_t n) const {
        if (!positioned)
            (void)f.seek(-int64_t(n), 1);
    }
};

// Copies up to `size` bytes through a kernel buffer. Returns how many, or the error if none.
static expected<int64_t> copy_between(copy_end from, copy_end to, uint64_t size) {
    constexpr uint64_t buffer_size = 16 * page_size;
    size = std::min(size, uio_max);
    call_array<char> buffer(std::min(page_round_up(std::max<uint64_t>(size, 1)), buffer_size));
    if (!buffer)
        return fail(Errno::nomem);
    uint64_t copied = 0;
    while (copied < size) {
        uio in(uio::direction::read, buffer.data(),
               std::min<uint64_t>(size - copied, buffer.size()));
        auto got = from.read(in);
        if (!got || *got == 0) {
            if (!got && copied == 0)
                return got;
            break;
        }
        from.advance(uint64_t(*got));
        uio out(uio::direction::write, buffer.data(), uint64_t(*got));
        auto put = to.write(out);
        uint64_t written = put ? uint64_t(*put) : 0;
        to.advance(written);
        copied += written;
        if (written < uint64_t(*got)) {
            from.unread(uint64_t(*got) - written);
            if (copied == 0 && !put)
                return put;
            break;
        }
        if (signal_pending(current_thread()))
            break;
    }
    return int64_t(copied);
}

sysresult sys_sendfile(sys_fd to, sys_fd from, user_ptr<int64_t> offset, uint64_t size) {
    auto in = TRY(readable_file(from));
    auto out = TRY(writable_file(to));
    // The source must have a position; a pipe or a terminal has none.
    if (!in->node()->is_regular())
        return fail(Errno::inval);
    if (out->flags() & o_append)
        return fail(Errno::inval);
    copy_end source{*in, false, 0}, target{*out, false, 0};
    if (offset) {
        int64_t position = TRY(offset.read());
        if (position < 0)
            return fail(Errno::inval);
        source.positioned = true;
        source.position = uint64_t(position);
    }
    int64_t copied = TRY(copy_between(source, target, size));
    if (offset)
        TRY(offset.write(int64_t(source.position) + copied));
    return copied;
}

sysresult sys_copy_file_range(sys_fd from, user_ptr<int64_t> from_offset, sys_fd to,
                              user_ptr<int64_t> to_offset, uint64_t size, sys_hex flags) {
    if (flags.value)
        return fail(Errno::inval);
    auto in = TRY(readable_file(from));
    auto out = TRY(writable_file(to));
    vnode *in_node = in->node(), *out_node = out->node();
    if (in_node->is_directory() || out_node->is_directory())
        return fail(Errno::isdir);
    if (!in_node->is_regular() || !out_node->is_regular())
        return fail(Errno::inval);
    if (out->flags() & o_append)
        return fail(Errno::badf);
    uint64_t position[2];
    user_ptr<int64_t> offsets[2] = {from_offset, to_offset};
    file* ends[2] = {in.get(), out.get()};
    for (int i = 0; i < 2; i++) {
        int64_t at = offsets[i] ? TRY(offsets[i].read()) : TRY(ends[i]->seek(0, 1));
        if (at < 0)
            return fail(Errno::inval);
        position[i] = uint64_t(at);
    }
    uint64_t length = std::min(size, uio_max);
    if (in_node == out_node && position[0] < position[1] + length &&
        position[1] < position[0] + length)
        return fail(Errno::inval);
    int64_t copied = TRY(copy_between({*in, true, position[0]}, {*out, true, position[1]}, size));
    for (int i = 0; i < 2; i++) {
        int64_t after = int64_t(position[i]) + copied;
        if (offsets[i])
            TRY(offsets[i].write(after));
        else
            TRY(ends[i]->seek(after, 0));
    }
    return copied;
}

// ---- Opening and closing ---------------------------------------------------------------------

sysresult sys_openat(sys_at_fd at, sys_path path, sys_open_flags flags, sys_mode mode) {
    auto name = TRY(path_buffer::copy(path));
    new_descriptor opened(files());
    const int fd = TRY(opened.reserve(flags.value & o_cloexec));
    opened.install(TRY(vfs_open_at(at, name.c_str(), uint32_t(flags.value), mode)));
    return fd;
}

sysresult sys_open(sys_path path, sys_open_flags flags, sys_mode mode) {
    return sys_openat({at_fdcwd}, path, flags, mode);
}

sysresult sys_creat(sys_path path, sys_mode mode) {
    return sys_openat({at_fdcwd}, path, {o_creat | o_wronly | o_trunc}, mode);
}

sysresult sys_close(sys_fd fd) {
    TRY(files().close(fd));
    return 0;
}

sysresult sys_close_range(uint32_t first, uint32_t last, sys_hex flags) {
    constexpr uint32_t close_range_unshare = 2, close_range_cloexec = 4;
    if (flags.value & ~(close_range_unshare | close_range_cloexec))
        return fail(Errno::inval);
    thread& self = current_thread();
    if (first > last)
        return fail(Errno::inval);
    if ((flags.value & close_range_unshare) && self.files->references() > 1) {
        auto files = TRY(self.files->copy()); // then the shared table, which may end here
        lock_guard guard(self.lock);
        files = self.files.exchange(std::move(files));
    }
    TRY(files().close_range(first, last, flags.value & close_range_cloexec));
    return 0;
}

sysresult sys_dup(sys_fd fd) { return TRY(files().install(TRY(files().get(fd)), false)); }

sysresult sys_dup2(sys_fd fd, sys_fd to) {
    auto f = TRY(files().get(fd));
    if (fd.value != to.value)
        TRY(files().install_at(to, std::move(f), false));
    return to.value;
}

sysresult sys_dup3(sys_fd fd, sys_fd to, sys_open_flags flags) {
    if ((uint32_t(flags.value) & ~o_cloexec) || fd.value == to.value)
        return fail(Errno::inval);
    TRY(files().install_at(to, TRY(files().get(fd)), flags.value & o_cloexec));
    return to.value;
}

sysresult sys_pipe2(user_ptr<int32_t> fds, sys_open_flags flags) {
    constexpr uint32_t kept = o_nonblock | o_direct;
    if (uint32_t(flags.value) & ~(kept | o_cloexec))
        return fail(Errno::inval);
    auto ends = TRY(pipe_make(uint32_t(flags.value) & kept));
    int32_t numbers[2];
    TRY(files().install_pair(std::move(ends.read), std::move(ends.write), flags.value & o_cloexec,
                             numbers));
    if (status s = copy_out(fds.address(), numbers, sizeof(numbers)); !s) {
        (void)files().close(numbers[0]);
        (void)files().close(numbers[1]);
        return fail(s.error());
    }
    return 0;
}

sysresult sys_pipe(user_ptr<int32_t> fds) { return sys_pipe2(fds, {0}); }

// ---- What else can be done with a descriptor -------------------------------------------------

sysresult sys_ioctl(sys_fd fd, sys_hex command, uint64_t argument) {
    auto f = TRY(files().get(fd));
    switch (command.value) {
    case fioclex:
    case fionclex: TRY(files().set_close_on_exec(fd, command.value == fioclex)); return 0;
    case fionbio: {
        bool on = TRY(user_ptr<const int32_t>(argument).read());
        f->set_flags(on ? f->flags() | o_nonblock : f->flags() & ~o_nonblock);
        return 0;
    }
    default: return f->ioctl(command.value, argument);
    }
}

sysresult sys_fsync(sys_fd fd) {
    TRY(TRY(files().get(fd))->sync(false));
    return 0;
}

sysresult sys_fdatasync(sys_fd fd) {
    TRY(TRY(files().get(fd))->sync(true));
    return 0;
}

// As Linux, it tells of no error: who has a file open does (fsync), and who mounts (syncfs).
sysresult sys_sync() {
    (void)mounts_sync();
    (void)uvm_vnode::flush_all();
    (void)disks_flush();
    return 0;
}

sysresult sys_syncfs(sys_fd fd) {
    auto f = TRY(files().get(fd));
    if (f->flags() & o_path)
        return fail(Errno::badf);
    TRY(f->node()->fs().sync());
    return 0;
}

// Each of the three waits and writes is all of them here: what is dirty is written, and waited for.
sysresult sys_sync_file_range(sys_fd fd, int64_t offset, int64_t size, sys_hex flags) {
    constexpr uint64_t known = 7; // SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE, _WAIT_AFTER
    auto f = TRY(files().get(fd));
    if (f->flags() & o_path)
        return fail(Errno::badf);
    int64_t end;
    if ((flags.value & ~known) || offset < 0 || size < 0 ||
        __builtin_add_overflow(offset, size, &end))
        return fail(Errno::inval);
    if (size == 0)
        end = INT64_MAX;
    if (f->node()->type() != s_ifreg && f->node()->type() != s_ifblk &&
        f->node()->type() != s_ifdir && f->node()->type() != s_iflnk)
        return fail(Errno::spipe);
    if (flags.value)
        TRY(f->write_back(uint64_t(offset), uint64_t(end)));
    return 0;
}

sysresult sys_truncate(sys_path path, int64_t size) {
    if (size < 0)
        return fail(Errno::inval);
    auto name = TRY(path_buffer::copy(path));
    auto node = TRY(lookup_path(at_fdcwd, name.c_str(), true));
    if (node->is_directory())
        return fail(Errno::isdir);
    if (!node->is_regular())
        return fail(Errno::inval);
    TRY(check_access(*node, may_write));
    TRY(node->get_write_access());
    status s = node->truncate(uint64_t(size));
    node->put_write_access();
    TRY(std::move(s));
    return 0;
}

sysresult sys_ftruncate(sys_fd fd, int64_t size) {
    if (size < 0)
        return fail(Errno::inval);
    auto f = TRY(files().get(fd));
    if (f->flags() & o_path)
        return fail(Errno::badf);
    if (!f->writable())
        return fail(Errno::inval);
    TRY(f->truncate(uint64_t(size)));
    return 0;
}

sysresult sys_fallocate(sys_fd fd, int32_t mode, int64_t offset, int64_t size) {
    if (offset < 0 || size <= 0)
        return fail(Errno::inval);
    enum : int32_t { keep_size = 1, punch_hole = 2 }; // FALLOC_FL_*
    if ((mode & ~(keep_size | punch_hole)) || mode == punch_hole)
        return fail(Errno::opnotsupp);
    auto f = TRY(writable_file(fd));
    if (f->node()->type() == s_ififo)
        return fail(Errno::spipe);
    int64_t end;
    if (__builtin_add_overflow(offset, size, &end))
        return fail(Errno::fbig);
    TRY(mode & punch_hole ? f->punch(uint64_t(offset), uint64_t(size))
                          : f->allocate(uint64_t(offset), uint64_t(size), mode & keep_size));
    return 0;
}

sysresult sys_fadvise64(sys_fd fd, int64_t offset, int64_t size, int32_t advice) {
    constexpr int32_t last_advice = 5; // POSIX_FADV_NOREUSE
    auto f = TRY(files().get(fd));
    if (f->flags() & o_path)
        return fail(Errno::badf);
    if (f->node()->type() == s_ififo)
        return fail(Errno::spipe);
    if (size < 0 || advice < 0 || advice > last_advice)
        return fail(Errno::inval);
    // As Linux, from where 0 bytes begin to the end.
    const uint64_t start = uint64_t(offset);
    const uint64_t end = size && offset >= 0 ? start + uint64_t(size) : INT64_MAX;
    if (start < end)
        TRY(f->advise(start, end, advice));
    return 0;
}

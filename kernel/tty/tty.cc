// Reading, writing and waiting. Sessions, foreground groups and hanging up are in tty_session.cc,
// ioctl is in tty_ioctl.cc.
#include "kernel/tty/tty.h"

#include "arch/timer.h"
#include "kernel/files/vnode.h"
#include "kernel/process/process.h"
#include "kernel/signal/signal.h"
#include "vm/phys/pool.h"

#include <algorithm>
#include <bit>

using namespace linux_abi;

namespace {

constinit pool<tty_file> tty_files{"tty_file"};

constexpr nanos_t vtime_unit = nanos_per_second / 10;
constexpr size_t chunk_size = 256;
// A writer that found the ring full is woken when this much is free.
constexpr size_t enough_room = line_discipline::output_size / 2;

} // namespace

expected<ref_ptr<file>> tty::open_only(vnode& node, uint32_t flags) {
    pid_t sid;
    {
        lock_guard tree(process_tree_lock);
        sid = current_process().group->sess->sid;
    }
    tty_file* f = tty_files.create(node, *this, flags & ~uint32_t{o_noctty}, sid);
    if (!f)
        return fail(Errno::nomem);
    auto opened = ref_ptr<file>(ref_ptr<tty_file>::adopt(f));
    {
        lock_guard guard(files_lock_);
        files_.push_back(*f);
        f->hung_up_ = gone_;
        users_changed(true);
    }
    if (f->hung_up())
        return fail(Errno::io);
    return opened;
}

expected<ref_ptr<file>> tty::open(vnode& node, uint32_t flags) {
    ref_ptr<file> f = TRY(open_only(node, flags));
    if (!(flags & o_noctty) && f->readable())
        (void)acquire(true, false); // whoever cannot have it goes on without
    return f;
}

expected<ref_ptr<file>> tty_open_controlling(vnode& node, uint32_t flags) {
    ref_ptr<tty> terminal;
    {
        lock_guard tree(process_tree_lock);
        terminal = ref_ptr<tty>(current_process().group->sess->terminal);
    }
    if (!terminal)
        return fail(Errno::nxio);
    return terminal->open_only(node, flags);
}

void tty_file::closed() {
    tty_->closed(*this);
    tty_files.destroy(this);
}

void tty::closed(tty_file& by) {
    {
        lock_guard guard(files_lock_);
        files_.remove(by);
        users_changed(!files_.empty());
    }
    users_have_changed();
}

// ---- The line ------------------------------------------------------------------------------

// Lets the line and the discipline exchange what they can, and wakes whoever can go on because of
// it.
void tty::serve(effects& e) {
    const size_t output_before = discipline_.output_bytes();
    const uint32_t readable_before = discipline_.readable_position();
    serve_line(e);
    if (const uint64_t signals = discipline_.take_signals()) {
        signals_ |= signals;
        if (!(discipline_.settings().lflag & noflsh))
            tell_line(tiocpkt_flushread | tiocpkt_flushwrite);
        e.line = true;
        signals_typed(e);
    }
    if (discipline_.readable_position() != readable_before)
        e.readers = e.pollers = true;
    if (output_before != 0 && discipline_.write_room() >= enough_room)
        e.writers = e.pollers = true;
}

void tty::settle(effects& e) {
    {
        lock_guard guard(lock_);
        if (e.readers)
            readers_.wake_all_in_parts(guard);
        if (e.writers)
            writers_.wake_all_in_parts(guard);
    }
    if (e.pollers)
        poll_.notify();
    if (e.line)
        settle_line();
    if (e.signals)
        send_signals();
    e = {};
}

void tty::send_signals() {
    uint64_t signals;
    {
        lock_guard guard(lock_);
        signals = std::exchange(signals_, 0);
    }
    for (; signals; signals &= signals - 1)
        signal_send_group(foreground_.load(), std::countr_zero(signals) + 1, nullptr);
}

// ---- Reading -------------------------------------------------------------------------------

// The lock is let go of meanwhile.
status tty::copy_input(uio& io, uint64_t& got, bool& line_ended) {
    uint8_t chunk[chunk_size];
    effects e;
    status moved;
    line_ended = false;
    reading_ = true; // so that nobody else reads the rest of this line
    while (moved && !line_ended && io.remaining() > 0 && discipline_.readable()) {
        const size_t n =
            discipline_.read(chunk, std::min<uint64_t>(sizeof chunk, io.remaining()), line_ended);
        serve(e); // what was held back for want of room
        lock_.unlock();
        settle(e);
        moved = io.move(chunk, n);
        lock_.lock();
    }
    got = io.moved();
    reading_ = false;
    readers_.wake_all_in_parts(lock_);
    return moved;
}

expected<int64_t> tty::read(tty_file& by, uio& io) {
    if (by.hung_up() || io.remaining() == 0)
        return 0;
    TRY(check_foreground(sigttin));
    uint64_t got = 0;
    nanos_t deadline = forever;
    lock_guard guard(lock_);
    // With MIN = 0 the time-out begins now, with MIN > 0 at the first byte.
    auto timeout = [&]() REQUIRES(lock_) { return discipline_.settings().cc[vtime] * vtime_unit; };
    if (!discipline_.canonical() && discipline_.settings().cc[vmin] == 0)
        deadline = now() + timeout();
    for (;;) {
        if (by.hung_up())
            return int64_t(got);
        if (!reading_ && discipline_.readable()) {
            bool line_ended;
            status moved = copy_input(io, got, line_ended);
            if (!moved && got == 0)
                return fail(moved.error());
            if (!moved || line_ended || discipline_.canonical() || io.remaining() == 0)
                return int64_t(got);
            if (got >= discipline_.settings().cc[vmin])
                return int64_t(got);
            if (timeout() != 0)
                deadline = now() + timeout();
            continue;
        }
        if (!discipline_.canonical() && discipline_.settings().cc[vmin] == 0 && timeout() == 0)
            return int64_t(got);
        if (by.nonblocking())
            return got ? expected<int64_t>(int64_t(got)) : fail(Errno::again);
        status slept = readers_.wait_interruptible(lock_, "ttyin", deadline);
        if (!slept && slept.error() == Errno::timedout)
            return int64_t(got);
        if (!slept)
            return got ? expected<int64_t>(int64_t(got)) : fail(Errno::restartsys);
    }
}

// ---- Writing -------------------------------------------------------------------------------

// One write after the other, so that they do not mix: waits for the turn.
status tty::begin_writing(tty_file& by) {
    while (writing_) {
        if (by.nonblocking())
            return fail(Errno::again);
        if (!writers_.wait_interruptible(lock_, "ttyout"))
            return fail(Errno::restartsys);
    }
    writing_ = true;
    return {};
}

// Puts all of `bytes` in, as room comes; `written` counts. The lock is let go of now and then.
status tty::write_chunk(tty_file& by, std::span<const uint8_t> bytes, effects& e,
                        uint64_t& written) {
    while (!bytes.empty()) {
        if (by.hung_up())
            return fail(Errno::io);
        const size_t taken = discipline_.write(bytes.data(), bytes.size());
        bytes = bytes.subspan(taken);
        written += taken;
        serve(e);
        if (taken > 0)
            continue;
        if (e.any()) {
            lock_.unlock();
            settle(e);
            lock_.lock();
        } else if (by.nonblocking()) {
            return fail(Errno::again);
        } else if (!writers_.wait_interruptible(lock_, "ttyout")) {
            return fail(Errno::restartsys);
        }
    }
    return {};
}

expected<int64_t> tty::write(tty_file& by, uio& io) {
    bool stops_background;
    {
        lock_guard guard(lock_);
        stops_background = discipline_.settings().lflag & tostop;
    }
    if (stops_background)
        TRY(check_foreground(sigttou));

    uint8_t chunk[chunk_size];
    uint64_t written = 0;
    status result;
    effects e;
    lock_guard guard(lock_);
    TRY(begin_writing(by));
    while (result && io.remaining() > 0) {
        const size_t n = std::min<uint64_t>(sizeof chunk, io.remaining());
        guard.unlock();
        settle(e);
        result = io.move(chunk, n);
        guard.lock();
        if (result)
            result = write_chunk(by, {chunk, n}, e, written);
    }
    writing_ = false;
    e.writers = true;
    guard.unlock();
    settle(e);
    if (written == 0 && !result)
        return fail(result.error());
    return int64_t(written);
}

uint32_t tty::poll(tty_file& by, poller* p) {
    if (p)
        p->add(poll_);
    if (by.hung_up())
        return pollin | pollrdnorm | pollout | pollwrnorm | pollerr | pollhup;
    lock_guard guard(lock_);
    uint32_t events = 0;
    const linux_termios& s = discipline_.settings();
    // With a time-out MIN does not hold a first byte back.
    const size_t wanted =
        !discipline_.canonical() && s.cc[vtime] == 0 ? std::max<size_t>(s.cc[vmin], 1) : 1;
    if (discipline_.readable() && (wanted == 1 || discipline_.readable_bytes() >= wanted))
        events |= pollin | pollrdnorm;
    if (discipline_.write_room() >= chunk_size)
        events |= pollout | pollwrnorm;
    return events;
}

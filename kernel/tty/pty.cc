#include "kernel/tty/pty.h"

#include "kernel/abi/termios.h"
#include "kernel/base/user_ptr.h"
#include "kernel/files/permission.h"
#include "kernel/files/vnode.h"
#include "kernel/process/process.h"
#include "kernel/process/process_group.h"
#include "kernel/process/thread.h"
#include "kernel/signal/signal.h"
#include "lib/long_work.h"
#include "vm/phys/pool.h"

#include <algorithm>
#include <new>

using namespace linux_abi;

namespace {

constexpr uint32_t slave_major = 136;
constexpr uint64_t most_of_a_user = 256; // but the superuser
constexpr size_t chunk_size = 256;
// Bytes from the master that are dealt with at once: the echo of one may be a whole line.
constexpr size_t at_once = 16;

spin_lock table_lock{lock_rank::wait, "ptys"};
pty* table[pty::most] GUARDED_BY(table_lock);
unsigned in_table GUARDED_BY(table_lock) = 0;

class pty_master final : public file {
public:
    pty_master(vnode& ptmx, pty& terminal, uint32_t flags) : file(ptmx, flags), pty_(&terminal) {}
    void closed() override;
    expected<int64_t> read(uio& io) override { return pty_->read_master(*this, io); }
    expected<int64_t> write(uio& io) override { return pty_->write_master(*this, io); }
    expected<int64_t> ioctl(uint64_t command, uint64_t argument) override {
        return pty_->ioctl_master(command, argument);
    }
    bool pollable() const override { return true; }
    uint32_t poll(poller* p) override { return pty_->poll_master(p); }
    uint64_t held() override { return pty_->held(); }

private:
    const ref_ptr<pty> pty_;
};
constinit pool<pty_master> masters{"pty_master"};

void pty_master::closed() {
    pty_->master_closed();
    masters.destroy(this);
}

} // namespace

constinit std::atomic<unsigned> pty::limit{most};

// ---- How they come and go --------------------------------------------------------------------

pty::pty(user_charge charge) : tty(lock_rank::pty), charge_(std::move(charge)) {}

// By its size, and not from a pool: a slab of such large ones would be larger than memory is wide.
expected<ref_ptr<pty>> pty::create() {
    user_charge charge = TRY(
        user_charge::take(current_credentials().uid, user_resource::ptys, 1,
                          is_superuser() ? user_charge::no_limit : most_of_a_user, Errno::nospc));
    void* memory = kmem_alloc(sizeof(pty));
    if (!memory)
        return fail(Errno::nomem);
    auto made = ref_ptr<pty>::adopt(new (memory) pty(std::move(charge)));
    lock_guard guard(table_lock);
    if (in_table < limit.load()) {
        unsigned n = 0;
        while (table[n])
            n++;
        table[n] = made.get();
        made->number_ = n;
        in_table++;
        return made;
    }
    guard.unlock();
    return fail(Errno::nospc);
}

void pty::last_reference_gone() {
    {
        lock_guard guard(table_lock);
        if (number_ < most) {
            table[number_] = nullptr;
            in_table--;
        }
    }
    this->~pty();
    kmem_free(this, sizeof(pty));
}

ref_ptr<pty> pty::find(unsigned number) {
    lock_guard guard(table_lock);
    pty* p = number < most ? table[number] : nullptr;
    return p && p->has_master_ ? ref_ptr<pty>::unless_ending(p) : nullptr;
}

int pty::next(unsigned number) {
    lock_guard guard(table_lock);
    for (unsigned n = number; n < most; n++)
        if (table[n] && table[n]->has_master_)
            return int(n);
    return -1;
}

unsigned pty::count() {
    lock_guard guard(table_lock);
    return in_table;
}

uint64_t pty::device() const { return make_device(slave_major, number_); }

ref_ptr<vnode> pty::node() {
    lock_guard guard(table_lock);
    return node_;
}

expected<ref_ptr<file>> pty::open_master(vnode& ptmx, ref_ptr<vnode> slave, uint32_t flags) {
    pty_master* f = masters.create(ptmx, *this, flags & ~uint32_t{o_noctty});
    if (!f)
        return fail(Errno::nomem);
    lock_guard guard(table_lock);
    has_master_ = true;
    node_ = std::move(slave);
    guard.unlock();
    return ref_ptr<file>(ref_ptr<pty_master>::adopt(f));
}

expected<ref_ptr<file>> pty::open_slave(vnode& node, uint32_t flags) {
    {
        lock_guard guard(lock_);
        if (locked_)
            return fail(Errno::io);
    }
    return open(node, flags);
}

void pty::master_closed() {
    ref_ptr<vnode> name; // ends without the lock
    {
        lock_guard guard(table_lock);
        has_master_ = false;
        std::swap(name, node_);
    }
    hang_up_for_good();
}

void pty::users_changed(bool any) {
    lock_guard guard(lock_);
    ended_ = !any;
}

// ---- What the master is told -----------------------------------------------------------------

void pty::tell_line(uint8_t status) {
    if (!by_packets_)
        return;
    for (const uint8_t either : {tiocpkt_stop | tiocpkt_start, tiocpkt_nostop | tiocpkt_dostop})
        if (status & either)
            status_ &= uint8_t(~either);
    status_ |= status;
}

// Both sides are told of a change that they can have waited for, once. What a program at the one end
// does is done when this is called, so that serve() sees no difference itself.
void pty::serve_line(effects& e) {
    const bool stopped = discipline_.output_stopped(), room = discipline_.receive_room() > 0;
    const bool space = discipline_.write_room() >= line_discipline::output_size / 2;
    if (discipline_.readable_position() != told_readable_)
        e.readers = e.pollers = true;
    if (space && !told_space_)
        e.writers = e.pollers = true;
    told_readable_ = discipline_.readable_position();
    told_space_ = space;
    if (stopped != told_stopped_)
        tell_line(stopped ? tiocpkt_stop : tiocpkt_start);
    e.line = e.line || status_ || discipline_.output_position() != told_position_ ||
             (room && !told_room_) || stopped != told_stopped_;
    told_position_ = discipline_.output_position();
    told_room_ = room;
    told_stopped_ = stopped;
}

void pty::settle_line() {
    {
        lock_guard guard(lock_);
        master_readers_.wake_all_in_parts(guard);
        master_writers_.wake_all_in_parts(guard);
    }
    master_poll_.notify();
}

uint32_t pty::poll_master(poller* p) {
    if (p)
        p->add(master_poll_);
    lock_guard guard(lock_);
    uint32_t events = ended_ ? uint32_t(pollhup) : 0;
    if (status_)
        events |= pollpri | pollin | pollrdnorm;
    if (discipline_.output_waiting())
        events |= pollin | pollrdnorm;
    if (discipline_.receive_room() > 0)
        events |= pollout | pollwrnorm;
    return events;
}

// ---- Its reads and writes --------------------------------------------------------------------

// EIO: the terminal is closed, and all that it has sent was read.
status pty::wait_for_output(file& by) {
    while (!status_ && !discipline_.output_waiting()) {
        if (ended_)
            return fail(Errno::io);
        if (by.nonblocking())
            return fail(Errno::again);
        if (!master_readers_.wait_interruptible(lock_, "ptyin"))
            return fail(Errno::restartsys);
    }
    return {};
}

expected<int64_t> pty::read_master(file& by, uio& io) {
    uint8_t chunk[chunk_size];
    status moved;
    if (io.remaining() == 0)
        return 0;
    bool alone = false; // what the line did, behind which no data come
    for (bool first = true; moved && !alone && io.remaining(); first = false, long_work::pause()) {
        size_t n = 0;
        effects e;
        {
            lock_guard guard(lock_);
            if (first)
                TRY(wait_for_output(by));
            if (first && by_packets_) {
                chunk[n++] = std::exchange(status_, uint8_t(tiocpkt_data));
                alone = chunk[0] != tiocpkt_data;
            }
            if (!alone)
                n += discipline_.take_output(chunk + n,
                                             std::min<uint64_t>(chunk_size, io.remaining()) - n);
            serve(e);
        }
        settle(e);
        if (n == 0)
            break;
        moved = io.move(chunk, n);
    }
    return io.result(moved);
}

// All of `bytes`, as there is room; `written` counts.
status pty::receive(file& by, std::span<const uint8_t> bytes, uint64_t& written) {
    while (!bytes.empty()) {
        effects e;
        {
            lock_guard guard(lock_);
            size_t n = 0;
            for (; n < std::min(bytes.size(), at_once) && discipline_.receive_room() > 0; n++)
                discipline_.receive(bytes[n]);
            bytes = bytes.subspan(n);
            written += n;
            serve(e);
            if (n == 0 && by.nonblocking())
                return fail(Errno::again);
            if (n == 0 && !master_writers_.wait_interruptible(lock_, "ptyout"))
                return fail(Errno::restartsys);
        }
        settle(e);
        long_work::pause();
    }
    return {};
}

expected<int64_t> pty::write_master(file& by, uio& io) {
    uint8_t chunk[chunk_size];
    uint64_t written = 0;
    status result;
    while (result && io.remaining() > 0) {
        const size_t n = std::min<uint64_t>(sizeof chunk, io.remaining());
        result = io.move(chunk, n);
        if (result)
            result = receive(by, {chunk, n}, written);
    }
    if (written == 0 && !result)
        return fail(result.error());
    return int64_t(written);
}

// ---- Its ioctl -------------------------------------------------------------------------------

expected<int64_t> pty::get(uint64_t argument, int32_t value) {
    TRY(user_ptr<int32_t>(argument).write(value));
    return 0;
}

// TIOCGPTPEER: the terminal, whatever has become of its name.
expected<int64_t> pty::open_peer(uint64_t flags) {
    if (flags & ~uint64_t(o_accmode | o_noctty | o_nonblock | o_cloexec))
        return fail(Errno::inval);
    const ref_ptr<vnode> its = node();
    if (!its)
        return fail(Errno::io);
    auto f = TRY(open_slave(*its, uint32_t(flags) & ~uint32_t{o_cloexec}));
    return TRY(current_thread().files->install(std::move(f), flags & o_cloexec));
}

expected<int64_t> pty::send_signal(uint64_t signo) {
    if (signo < 1 || signo > 64)
        return fail(Errno::inval);
    signal_send_group(foreground_.load(), int(signo), nullptr);
    return 0;
}

// TIOCGSID, by whoever asks. ENOTTY: it is nobody's.
expected<int64_t> pty::get_any_session(uint64_t argument) {
    pid_t sid;
    {
        lock_guard tree(process_tree_lock);
        if (!session_)
            return fail(Errno::notty);
        sid = session_->sid;
    }
    return get(argument, sid);
}

expected<int64_t> pty::ioctl_master(uint64_t command, uint64_t argument) {
    switch (command) {
    case tiocgptn: return get(argument, int32_t(number_));
    case tiocgptpeer: return open_peer(argument);
    case tiocsig: return send_signal(argument);
    case tiocgpgrp: return get(argument, foreground_.load()); // whoever asks
    case tiocgsid: return get_any_session(argument);
    case tiocnotty: return fail(Errno::notty);
    case tiocoutq: return get(argument, 0);
    case tiocsptlck:
    case tiocpkt: {
        const bool on = TRY(user_ptr<const int32_t>(argument).read()) != 0;
        lock_guard guard(lock_);
        (command == tiocpkt ? by_packets_ : locked_) = on;
        if (command == tiocpkt)
            status_ = 0;
        return 0;
    }
    case tiocgpkt:
    case tiocgptlck:
    case tiocinq: {
        lock_guard guard(lock_);
        const auto value = command == tiocgpkt     ? int32_t(by_packets_)
                           : command == tiocgptlck ? int32_t(locked_)
                                                   : int32_t(discipline_.output_bytes());
        guard.unlock();
        return get(argument, value);
    }
    default: return control(nullptr, command, argument);
    }
}

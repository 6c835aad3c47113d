// How bytes and files go from socket to socket.
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "kernel/signal/signal.h"
#include "kernel/sockets/names.h"
#include "kernel/sockets/rights.h"
#include "kernel/sockets/socket.h"
#include "lib/long_work.h"

#include <algorithm>

using namespace linux_abi;

// Of a stream, that is sent in one go.
static constexpr uint32_t piece_most = 32 * 1024;
// Datagrams that wait in a queue, whoever sent them.
static constexpr uint32_t most_packets = 512;

expected<int64_t> socket::read(uio& io) {
    message m;
    return receive(io, m);
}

expected<int64_t> socket::write(uio& io) {
    message m;
    return send(io, m);
}

// ---- Sending ---------------------------------------------------------------------------------

// Who gets what is sent now: `to`, or the peer; null: it is lost, and the next will be told. EPIPE
// ENOTCONN ECONNREFUSED EPERM, or what was to be told of before.
expected<socket*> socket::receiver(socket* to) {
    if (is_unix() && stream() && write_shut_)
        return fail(Errno::pipe);
    if (error_ != Errno{})
        return fail(take_error());
    if (write_shut_)
        return fail(Errno::pipe);
    socket* target = to ? to : peer_;
    if (!target && by_connection()) {
        if (stage_ != stage::connected || is_unix())
            return fail(stage_ == stage::connected ? Errno::pipe : Errno::notconn);
        write_shut_ = true;
        changed(~uint32_t{0});
        return nullptr;
    }
    if (!target) { // its peer has gone, which is told once
        const bool gone = std::exchange(stage_, stage::fresh) == stage::connected;
        return fail(gone ? Errno::connrefused : is_unix() ? Errno::notconn : Errno::destaddrreq);
    }
    if (is_unix() && target->read_shut_)
        return fail(Errno::pipe);
    if (is_unix() && target->peer_ && target->peer_ != this)
        return fail(Errno::perm); // it talks to another one
    return target;
}

// Puts `p` into its receiver's queue; waits for room at the peer. EAGAIN without room at `to`; then
// `news` is what to wait for more of.
status socket::deliver(packet& p, socket* to, bool nonblocking, uint64_t& news) {
    const nanos_t deadline = deadline_of(send_timeout_.load());
    lock_guard guard(sockets_lock);
    for (;;) {
        socket* const target = TRY(receiver(to));
        if (!target) {
            guard.unlock();
            p.destroy();
            return {};
        }
        const uint64_t queued = target->queued_.load();
        const bool room = stream()
                              ? queued < send_buffer_.load()
                              : target->packets_ < most_packets &&
                                    (queued == 0 || queued + p.charge() <= send_buffer_.load());
        if (room) {
            flying_sockets::take_off(p, *target);
            if (!by_connection())
                p.from = is_unix() ? name_ : source().seen_by(target->family);
            target->queue_.push_back(p);
            target->packets_++;
            target->queued_ += p.charge();
            target->readers_.wake_all();
            target->pollers_.notify(pollin | pollrdnorm);
            return {};
        }
        if (!is_unix() && !by_connection()) { // UDP: it is lost
            guard.unlock();
            p.destroy();
            return {};
        }
        news = news_count;
        if (nonblocking && target == peer_)
            want_room();
        if (nonblocking || to)
            return fail(Errno::again);
        TRY(wait(target->senders_, deadline, "socket_send"));
    }
}

// `connected`: of what is lost the sender hears the next time.
status socket::deliver_by_name(packet& p, const socket_address& there, bool connected,
                               bool nonblocking) {
    const nanos_t deadline = deadline_of(send_timeout_.load());
    for (;;) {
        uint64_t news = 0;
        {
            auto to = socket_names::find(there, *this);
            if (!to && (is_unix() || to.error() != Errno::connrefused))
                return fail(to.error());
            if (!to) {
                lock_guard guard(sockets_lock);
                if (error_ != Errno{})
                    return fail(take_error());
                if (connected)
                    error_ = Errno::connrefused;
                guard.unlock();
                p.destroy();
                return {};
            }
            status delivered = deliver(p, to->get(), nonblocking, news);
            if (delivered || delivered.error() != Errno::again || nonblocking)
                return delivered;
        }
        TRY(wait_for_news(news, deadline, "socket_send"));
    }
}

expected<int64_t> socket::send_stream(uio& io, message& m) {
    const bool nonblocking = this->nonblocking() || (m.flags & msg_dontwait);
    int64_t sent = 0;
    status result;
    while (io.remaining() && result) {
        const auto size = uint32_t(std::min<uint64_t>(io.remaining(), piece_most));
        packet* p = packet::create(size);
        if (!p) {
            result = fail(Errno::nomem);
            break;
        }
        p->sender = m.sender;
        result = io.move(p->data, size);
        if (result) {
            p->with = std::move(m.with);
            uint64_t news;
            result = deliver(*p, nullptr, nonblocking, news);
        }
        if (result)
            sent += size;
        else
            p->destroy();
    }
    if (sent == 0 && !result)
        return fail(result.error());
    return sent;
}

expected<int64_t> socket::send_packet(uio& io, message& m) {
    if (io.remaining() + packet::overhead > send_buffer_.load() ||
        (!is_unix() && io.remaining() > 65507))
        return fail(Errno::msgsize);
    socket_address there;
    if (m.to)
        there = *m.to;
    if (!is_unix()) {
        TRY(bind_if_nameless());
        lock_guard guard(sockets_lock);
        if (!m.to)
            there = peer_name_;
    }
    packet* p = packet::create(uint32_t(io.remaining()));
    if (!p)
        return fail(Errno::nomem);
    p->sender = m.sender;
    const uint32_t size = p->size;
    status result = io.move(p->data, size);
    if (result) {
        const bool nonblocking = this->nonblocking() || (m.flags & msg_dontwait);
        uint64_t news;
        p->with = std::move(m.with);
        result = there.size ? deliver_by_name(*p, there, !m.to, nonblocking)
                            : deliver(*p, nullptr, nonblocking, news);
    }
    if (result)
        return size;
    p->destroy();
    return fail(result.error());
}

expected<int64_t> socket::send(uio& io, message& m) {
    if (!m.has_sender) {
        const credentials who = current_credentials();
        m.sender = {current_process().pid, who.uid, who.gid};
    }
    if (by_connection() && m.to) {
        lock_guard guard(sockets_lock);
        if (stream() && is_unix())
            return fail(stage_ == stage::connected ? Errno::isconn : Errno::opnotsupp);
        m.to = nullptr;
    }
    auto sent = stream() ? send_stream(io, m) : send_packet(io, m);
    if (!sent && sent.error() == Errno::pipe && stream() && !(m.flags & msg_nosignal))
        signal_send_thread(current_thread(), sigpipe, nullptr);
    return sent;
}

// ---- Receiving -------------------------------------------------------------------------------

packet* socket::front() {
    lock_guard guard(sockets_lock);
    return queue_.front();
}

packet* socket::after(packet& p) {
    lock_guard guard(sockets_lock);
    return queue_.next(p);
}

// `bytes` of the first have been read; `whole`: so it goes. Its files are gone, by note(): they could
// not end here.
void socket::consume(packet& p, uint32_t bytes, bool whole) {
    {
        lock_guard guard(sockets_lock);
        p.read += bytes;
        if (!whole && p.read < p.size)
            return;
        queue_.remove(p);
        packets_--;
        queued_ -= p.charge();
        room();
    }
    p.destroy();
}

// What comes with a packet: its sender and its files. A peek gets references of its own.
void socket::note(packet& p, message& m) {
    m.sender = p.sender;
    m.from = p.from;
    if (!p.with.files)
        return;
    if (m.flags & msg_peek) {
        kmem_array<ref_ptr<file>> copies(p.with.files.size()); // zeros: null
        lock_guard guard(sockets_lock);
        for (size_t i = 0; i < copies.size(); i++)
            copies[i] = p.with.files[i];
        guard.unlock();
        m.with.files = std::move(copies);
        return;
    }
    {
        lock_guard guard(sockets_lock);
        carriers_.remove(p);
        flying_sockets::land(p);
    }
    m.with = std::move(p.with);
}

expected<int64_t> socket::take_stream(uio& io, message& m) {
    const bool peek = m.flags & msg_peek, by_sender = switches_.load() & (1u << so_passcred);
    status result;
    uint64_t moved = 0;
    for (packet* p = front(); p && io.remaining() && result; long_work::pause()) {
        if (moved && by_sender && !(p->sender == m.sender))
            break;
        const uint64_t before = io.moved();
        result = io.move(p->data + p->read, std::min<uint64_t>(p->size - p->read, io.remaining()));
        const auto n = uint32_t(io.moved() - before);
        moved += n;
        const bool had_rights = bool(p->with.files);
        if (n)
            note(*p, m);
        packet* const next = peek ? after(*p) : nullptr;
        if (!peek)
            consume(*p, n, false);
        if (had_rights && n)
            break;
        p = peek ? next : front();
    }
    return io.result(result);
}

expected<int64_t> socket::take_packet(uio& io, message& m) {
    packet& p = *front();
    const uint64_t size = p.size, n = std::min<uint64_t>(size, io.remaining());
    status result = io.move(p.data, n);
    if (n < size)
        m.out_flags |= msg_trunc;
    note(p, m);
    if (!(m.flags & msg_peek))
        consume(p, uint32_t(n), true);
    if (!result)
        return fail(result.error());
    return int64_t(m.flags & msg_trunc ? size : n);
}

status socket::may_receive() {
    if (!by_connection() || stage_ == stage::connected)
        return {};
    return fail(is_unix() && stream() ? Errno::inval : Errno::notconn);
}

// `end`: none will come.
status socket::wait_for_packet(bool nonblocking, nanos_t deadline, bool& end) {
    lock_guard guard(sockets_lock);
    TRY(may_receive());
    if (!queue_.empty())
        return {};
    if (error_ != Errno{})
        return fail(take_error());
    end = read_shut_;
    if (end)
        return {};
    if (nonblocking)
        return fail(Errno::again);
    return wait(readers_, deadline, "socket_receive");
}

expected<int64_t> socket::receive(uio& io, message& m) {
    const bool nonblocking = this->nonblocking() || (m.flags & msg_dontwait);
    const bool all = stream() && (m.flags & msg_waitall) && !(m.flags & msg_peek);
    const nanos_t deadline = deadline_of(receive_timeout_.load());
    if (stream() && io.remaining() == 0) {
        lock_guard guard(sockets_lock);
        TRY(may_receive());
        return 0;
    }
    status result;
    for (bool end = false; result && !end;) {
        {
            lock_guard turn(read_lock_);
            if (front()) {
                auto taken = stream() ? take_stream(io, m) : take_packet(io, m);
                if (!taken || !all || io.remaining() == 0 || m.with.files)
                    return taken;
            }
        }
        result = wait_for_packet(nonblocking, deadline, end);
    }
    return io.result(result);
}

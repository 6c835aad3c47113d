// How sockets come, meet, are polled and end. What they send is in transfer.cc, what they are named
// in names.cc.
#include "kernel/sockets/socket.h"

#include "kernel/abi/ioctl.h"
#include "kernel/files/anonymous.h"
#include "kernel/files/permission.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "kernel/signal/signal.h"
#include "kernel/sockets/names.h"
#include "kernel/sockets/rights.h"
#include "lib/format.h"
#include "lib/long_work.h"

#include <algorithm>

using namespace linux_abi;

constinit spin_lock sockets_lock{lock_rank::sockets, "sockets"};
constinit wait_queue socket::elsewhere;
constinit uint64_t socket::news_count = 0;

namespace {

nameless_file_system sockfs{"sockfs", 0x534f434b};

class socket_node final : public vnode {
public:
    explicit socket_node(file_owner owner)
        : vnode(sockfs, sockfs.new_inode(), {s_ifsock | 0777, owner.uid, owner.gid}) {}
    void last_reference_gone() override;
    expected<ref_ptr<file>> open(uint32_t) override { return fail(Errno::nxio); }
    void pseudo_path(char* out, size_t size) override {
        format_to(out, size, "socket:[%lu]", (unsigned long)inode());
    }
};

constinit pool<socket_node> socket_nodes{"socket_node"};
constinit pool<socket> sockets{"socket"};

void socket_node::last_reference_gone() { socket_nodes.destroy(this); }

constexpr uint32_t default_buffer = 212992, most_waiting = 4096;

linux_ucred caller() {
    const credentials who = current_credentials();
    return {current_process().pid, who.euid, who.egid};
}

} // namespace

socket::socket(vnode& node, int of_family, uint32_t of_type, int of_protocol)
    : file(node, o_rdwr), family(of_family), type(of_type), protocol(of_protocol),
      send_buffer_(default_buffer), receive_buffer_(default_buffer) {}

expected<ref_ptr<socket>> socket::create(int family, uint32_t type, int protocol) {
    auto node = ref_ptr<vnode>::adopt(socket_nodes.create(owner_for_caller()));
    if (!node)
        return fail(Errno::nomem);
    auto made = ref_ptr<socket>::adopt(sockets.create(*node, family, type, protocol));
    if (!made)
        return fail(Errno::nomem);
    lock_guard guard(sockets_lock);
    made->name_ = socket_address::of_family(family);
    made->own_ = caller();
    guard.unlock();
    return made;
}

// A quarter of the room at least is free: so a writer that waits gets some to fill.
static bool quarter_free(uint64_t queued, uint32_t buffer) { return queued * 4 <= buffer; }

bool socket::has_room_for(const socket& sender) const {
    return quarter_free(queued_.load(), sender.send_buffer_.load());
}

// Who wants room is told once for each time that he asks: a read costs no more than what was asked
// before it.
void socket::room() {
    senders_.wake_all();
    news_count++;
    elsewhere.wake_all();
    if (!quarter_free(queued_.load(), wanted_most_))
        return;
    wanted_most_ = 0;
    while (socket* sender = wanting_.pop_front())
        sender->pollers_.notify(pollout | pollwrnorm | pollwrband);
}

void socket::want_room() {
    if (!among_wanting.linked())
        peer_->wanting_.push_back(*this);
    peer_->wanted_most_ = std::max(peer_->wanted_most_, send_buffer_.load());
}

status socket::wait_for_news(uint64_t since, nanos_t deadline, const char* why) {
    lock_guard guard(sockets_lock);
    while (news_count == since)
        TRY(wait(elsewhere, deadline, why));
    return {};
}

void socket::changed(uint32_t events) {
    readers_.wake_all();
    room();
    pollers_.notify(events);
}

void socket::meet(socket& other) {
    part();
    peer_ = &other;
    other.connected_.push_back(*this);
    stage_ = stage::connected;
}

void socket::part() {
    if (peer_)
        peer_->connected_.remove(*this);
    if (among_wanting.linked())
        peer_->wanting_.remove(*this);
    peer_ = nullptr;
}

// `unread`: it had not read all that was sent to it. Who sends over TCP hears of an end only after
// what he has sent has come there.
void socket::peer_ended(bool unread) {
    part();
    if (by_connection()) {
        read_shut_ = true;
        write_shut_ = write_shut_ || is_unix() || unread;
        if (unread)
            error_ = Errno::connreset;
    }
    changed(~uint32_t{0});
}

void socket::pair(socket& a, socket& b) {
    lock_guard guard(sockets_lock);
    a.meet(b);
    b.meet(a);
    a.other_ = b.own_;
    b.other_ = a.own_;
}

void socket::closed() {
    socket_names::forget(*this);
    packet_list unread;
    for (bool more = true; more; long_work::pause()) {
        lock_guard guard(sockets_lock);
        read_shut_ = write_shut_ = true;
        part();
        socket* other = connected_.front();
        if (other)
            other->peer_ended(!queue_.empty());
        more = !connected_.empty();
        if (more)
            continue;
        flying_sockets::land(carriers_);
        unread.splice_back(queue_);
        room();
    }
    for (bool more = true; more; long_work::pause()) {
        ref_ptr<socket> never_accepted; // ends without the lock
        lock_guard guard(sockets_lock);
        never_accepted = backlog_.pop_front();
        more = bool(never_accepted);
        if (more && never_accepted->peer_)
            never_accepted->peer_->error_ = Errno::connreset;
        guard.unlock();
    }
    flying_sockets::drop(unread);
    flying_sockets::collect();
    sockets.destroy(this);
}

// ---- Connections -----------------------------------------------------------------------------

status socket::bind(const socket_address& address) { return socket_names::bind(*this, address); }

status socket::listen(int32_t backlog) {
    if (!by_connection())
        return fail(Errno::opnotsupp);
    bool named;
    {
        lock_guard guard(sockets_lock);
        named = name_.size > 2;
        if (stage_ == stage::connected)
            return fail(Errno::inval);
    }
    if (!named) {
        if (is_unix())
            return fail(Errno::inval);
        TRY(socket_names::bind_somewhere(*this));
    }
    lock_guard guard(sockets_lock);
    if (stage_ == stage::connected)
        return fail(Errno::inval);
    if (socket_names::listened_at(*this))
        return fail(Errno::addrinuse);
    stage_ = stage::listening;
    own_ = caller();
    backlog_most_ = backlog < 0 ? most_waiting : std::min(uint32_t(backlog), most_waiting);
    room();
    return {};
}

nanos_t socket::deadline_of(nanos_t timeout) const {
    const nanos_t start = now();
    return timeout > forever - start ? forever : start + timeout;
}

// EAGAIN when the socket's own time is over; restartsys.
status socket::wait(wait_queue& queue, nanos_t deadline, const char* why) {
    status woken = queue.wait_interruptible(sockets_lock, why, deadline);
    if (woken)
        return {};
    if (woken.error() == Errno::timedout)
        return fail(Errno::again);
    return fail(deadline == forever ? Errno::restartsys : Errno::intr);
}

status socket::connect_datagrams(const socket_address& address) {
    if (address.family() == af_unspec) {
        lock_guard guard(sockets_lock);
        part();
        peer_name_ = {};
        stage_ = stage::fresh;
        return {};
    }
    auto found = socket_names::find(address, *this);
    // Nobody may be there yet: then it is the one who says so, at the first message.
    if (!found && (is_unix() || found.error() != Errno::connrefused))
        return fail(found.error());
    if (!is_unix())
        TRY(bind_if_nameless());
    lock_guard guard(sockets_lock);
    part();
    if (is_unix())
        meet(**found);
    stage_ = stage::connected;
    peer_name_ = address;
    if (!is_unix() && peer_name_.any())
        peer_name_.become_loopback();
    changed(~uint32_t{0});
    guard.unlock();
    return {};
}

status socket::bind_if_nameless() {
    {
        lock_guard guard(sockets_lock);
        if (name_.size > 2)
            return {};
    }
    return socket_names::bind_somewhere(*this);
}

// `embryo` becomes this socket's peer and waits in `listener`'s backlog. EAGAIN without room there;
// then `news` is what to wait for more of.
status socket::connect_stream(socket& listener, socket& embryo, bool nonblocking, uint64_t& news) {
    lock_guard guard(sockets_lock);
    if (stage_ != stage::fresh)
        return fail(stage_ == stage::connected || !is_unix() ? Errno::isconn : Errno::inval);
    if (listener.stage_ != stage::listening || listener.read_shut_)
        return fail(Errno::connrefused);
    news = news_count;
    if (listener.waiting_ > listener.backlog_most_ &&
        !(nonblocking && !is_unix() && listener.waiting_ < most_waiting))
        return fail(Errno::again);
    meet(embryo);
    embryo.meet(*this);
    own_ = embryo.other_ = caller();
    other_ = embryo.own_ = listener.own_;
    embryo.switches_.store(listener.switches_.load());
    embryo.send_buffer_.store(listener.send_buffer_.load());
    embryo.name_ = listener.name_;
    if (!is_unix()) {
        if (name_.any()) { // it speaks from where it speaks to
            const uint16_t port = name_.port();
            name_ = peer_name_;
            name_.set_port(port);
        }
        embryo.name_ = peer_name_.seen_by(listener.family);
        embryo.peer_name_ = name_.seen_by(listener.family);
    }
    listener.backlog_.push_back(ref_ptr<socket>(&embryo));
    listener.waiting_++;
    listener.changed(pollin | pollrdnorm);
    changed(~uint32_t{0});
    return {};
}

status socket::connect(const socket_address& address, bool nonblocking) {
    if (!by_connection())
        return connect_datagrams(address);
    const nanos_t deadline = deadline_of(send_timeout_.load());
    for (;;) {
        uint64_t news = 0;
        status connected = connect_once(address, nonblocking, news);
        if (connected || connected.error() != Errno::again || nonblocking)
            return connected;
        TRY(wait_for_news(news, deadline, "connect"));
    }
}

status socket::connect_once(const socket_address& address, bool nonblocking, uint64_t& news) {
    {
        lock_guard guard(sockets_lock);
        if (stage_ != stage::fresh)
            return fail(stage_ == stage::connected || !is_unix() ? Errno::isconn : Errno::inval);
    }
    auto listener = TRY(socket_names::find(address, *this));
    if (!is_unix()) {
        TRY(bind_if_nameless());
        lock_guard guard(sockets_lock);
        peer_name_ = address.seen_by(family);
        if (peer_name_.any())
            peer_name_.become_loopback();
    }
    auto embryo = TRY(create(listener->family, type, protocol));
    return connect_stream(*listener, *embryo, nonblocking, news);
}

expected<ref_ptr<socket>> socket::accept(bool nonblocking) {
    if (!by_connection())
        return fail(Errno::opnotsupp);
    const nanos_t deadline = deadline_of(receive_timeout_.load());
    lock_guard guard(sockets_lock);
    for (;;) {
        if (stage_ != stage::listening || read_shut_)
            return fail(Errno::inval);
        if (auto first = backlog_.pop_front()) {
            waiting_--;
            room();
            return first;
        }
        if (nonblocking)
            return fail(Errno::again);
        TRY(wait(readers_, deadline, "accept"));
    }
}

status socket::shutdown(int32_t how) {
    if (how < shut_rd || how > shut_rdwr)
        return fail(Errno::inval);
    const bool reads = how != shut_wr, writes = how != shut_rd;
    lock_guard guard(sockets_lock);
    if (by_connection() && stage_ != stage::connected &&
        !(is_unix() && stage_ == stage::listening) && !(stage_ == stage::listening && reads))
        return fail(Errno::notconn);
    if (!by_connection() && !is_unix() && stage_ != stage::connected)
        return fail(Errno::notconn);
    read_shut_ = read_shut_ || reads;
    write_shut_ = write_shut_ || writes;
    if (by_connection() && peer_) {
        peer_->read_shut_ = peer_->read_shut_ || writes;
        peer_->write_shut_ = peer_->write_shut_ || (reads && is_unix());
        peer_->changed(~uint32_t{0});
    }
    changed(~uint32_t{0});
    return {};
}

// What others see as its address: AF_INET and AF_INET6.
socket_address socket::source() const {
    socket_address a = name_;
    if (a.any())
        a.become_loopback();
    return a;
}

socket_address socket::name() {
    lock_guard guard(sockets_lock);
    if (name_.size == 2 && !is_unix()) { // no port yet
        socket_address a = name_;
        a.size = family == af_inet ? sizeof(linux_sockaddr_in) : sizeof(linux_sockaddr_in6);
        return a;
    }
    return name_;
}

expected<socket_address> socket::peer_name() {
    lock_guard guard(sockets_lock);
    if (stage_ != stage::connected || (is_unix() && !peer_))
        return fail(Errno::notconn);
    return is_unix() ? peer_->name_ : peer_name_;
}

// ---- poll ------------------------------------------------------------------------------------

uint64_t socket::held() {
    lock_guard guard(sockets_lock);
    return flying_sockets::held_by(*this);
}

uint32_t socket::poll(poller* p) {
    if (p)
        p->add(pollers_);
    lock_guard guard(sockets_lock);
    const bool listens = stage_ == stage::listening;
    uint32_t events = error_ != Errno{} ? uint32_t(pollerr) : 0;
    if (read_shut_)
        events |= pollrdhup | pollin | pollrdnorm;
    if ((read_shut_ && write_shut_) || (by_connection() && stage_ == stage::fresh))
        events |= pollhup;
    if (listens)
        return events | (backlog_.empty() ? 0 : pollin | pollrdnorm);
    if (!queue_.empty())
        events |= pollin | pollrdnorm;
    if (!peer_ || write_shut_ || peer_->has_room_for(*this))
        events |= pollout | pollwrnorm | pollwrband;
    else
        want_room();
    return events;
}

expected<int64_t> socket::ioctl(uint64_t command, uint64_t argument) {
    if (command != fionread)
        return fail(Errno::notty);
    uint64_t bytes = 0;
    {
        lock_guard guard(sockets_lock);
        if (stage_ == stage::listening)
            return fail(Errno::inval);
        for (packet& p : queue_) {
            bytes += p.size - p.read;
            if (type == sock_dgram)
                break;
        }
    }
    TRY(user_ptr<int32_t>(argument).write(int32_t(bytes)));
    return 0;
}

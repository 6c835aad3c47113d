// socket: one end of what programs on this machine say to each other: AF_UNIX, and AF_INET and
// AF_INET6 by the loopback device alone. docs/sockets.md tells how it is done.
//
// What is sent lies as packets in the queue of who is to read it: there is nothing in between, and
// streams are packets that are read over their ends. One spin lock guards who is whose peer and what
// is in which queue, of all sockets: those meet each other in every way. Bytes are copied without it.
//
// A socket is a file, also while it waits in a backlog for accept(2). Its peer does not keep it: when
// its last reference goes, it tells all who are connected to it.
#pragma once

#include "kernel/abi/socket.h"
#include "kernel/files/file.h"
#include "kernel/files/vnode.h"
#include "kernel/process/user_account.h"
#include "kernel/sockets/address.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "lib/ref_list.h"
#include "vm/phys/pool.h"

// Guards who is whose peer, what is in which queue, and who has which name: of all sockets.
extern spin_lock sockets_lock;

// Files that travel with a packet, and who pays for it.
struct rights {
    kmem_array<ref_ptr<file>> files;
    user_charge charge;
    rights() = default;
    rights(rights&&) = default;
    rights& operator=(rights&&) = default;
    ~rights(); // drops them
};

struct packet {
    // Of the room in a queue that each takes besides its bytes.
    static constexpr uint32_t overhead = 256;
    static packet* create(uint32_t size); // null without memory
    void destroy();                       // it is in no queue
    uint32_t charge() const { return size + overhead; }

    list_node on_queue;
    list_node among_carriers; // with files
    char* data = nullptr;     // kmem; null if size is 0
    uint32_t size = 0, read = 0;
    socket_address from; // of datagrams
    linux_abi::linux_ucred sender{};
    rights with;
};
using packet_list = list<packet, &packet::on_queue>;
using carrier_list = list<packet, &packet::among_carriers>;

// A message on its way from or to a program, beside its bytes.
struct message {
    uint32_t flags = 0;                 // MSG_*, of the call
    const socket_address* to = nullptr; // of a send; null: the peer
    socket_address from;                // of a receive
    bool has_sender = false;            // of a send: it says who sends, else the caller does
    linux_abi::linux_ucred sender{};
    rights with;
    uint32_t out_flags = 0; // MSG_TRUNC
};

class socket final : public file {
public:
    // ENOMEM.
    static expected<ref_ptr<socket>> create(int family, uint32_t type, int protocol);
    // Two new ones become each other's peers.
    static void pair(socket& a, socket& b);
    socket(vnode& node, int family, uint32_t type, int protocol);

    expected<int64_t> read(uio& io) override;
    expected<int64_t> write(uio& io) override;
    expected<int64_t> ioctl(uint64_t command, uint64_t argument) override;
    bool pollable() const override { return true; }
    uint32_t poll(poller* p) override;
    // With what only its queue and its backlog keep, and so on inwards.
    uint64_t held() override;
    socket* as_socket() override { return this; }

    // As the calls of these names. `nonblocking`: by the file or by a flag.
    status bind(const socket_address& address);
    status listen(int32_t backlog);
    status connect(const socket_address& address, bool nonblocking);
    expected<ref_ptr<socket>> accept(bool nonblocking);
    expected<int64_t> send(uio& io, message& m);
    expected<int64_t> receive(uio& io, message& m);
    status shutdown(int32_t how);
    socket_address name();
    expected<socket_address> peer_name(); // ENOTCONN
    bool passes_credentials() const { return switches_.load() & (1u << linux_abi::so_passcred); }
    // `size` bytes of it, at most: EINVAL ENOPROTOOPT EFAULT.
    status set_option(int32_t level, int32_t option, user_ptr<void> value, uint32_t size);
    expected<uint32_t> get_option(int32_t level, int32_t option, user_ptr<void> value,
                                  uint32_t size);

    const int family;
    const uint32_t type;
    const int protocol;
    // To its peer; of those that want room there; in a backlog; in the table of names; of those that
    // travel; of a search among those.
    list_node among_connected GUARD_UNCHECKED(sockets_lock);
    list_node among_wanting GUARD_UNCHECKED(sockets_lock);
    list_node in_backlog GUARD_UNCHECKED(sockets_lock);
    list_node in_table GUARD_UNCHECKED(sockets_lock);
    list_node among_flying GUARD_UNCHECKED(sockets_lock);
    list_node among_visited GUARD_UNCHECKED(sockets_lock);

private:
    friend class socket_names;
    friend class flying_sockets;
    void closed() override;
    bool is_unix() const { return family == linux_abi::af_unix; }
    // Whether it has to be connected before it can be used.
    bool by_connection() const { return type != linux_abi::sock_dgram; }
    bool only_6() const { return switches_.load() & (1u << linux_abi::ipv6_v6only); }
    bool stream() const { return type == linux_abi::sock_stream; }

    enum class stage : uint8_t { fresh, listening, connected };

    void meet(socket& other) REQUIRES(sockets_lock);
    void part() REQUIRES(sockets_lock);
    void peer_ended(bool unread) REQUIRES(sockets_lock);
    void changed(uint32_t events) REQUIRES(sockets_lock); // wakes all, tells pollers
    Errno take_error() REQUIRES(sockets_lock) { return std::exchange(error_, Errno{}); }
    expected<ref_ptr<socket>> destination(const socket_address& address);
    status bind_if_nameless(); // AF_INET and AF_INET6
    status connect_datagrams(const socket_address& address);
    status connect_once(const socket_address& address, bool nonblocking, uint64_t& news);
    status connect_stream(socket& listener, socket& embryo, bool nonblocking, uint64_t& news);
    void room() REQUIRES(sockets_lock); // in its queue or backlog, or never any more
    bool has_room_for(const socket& sender) const REQUIRES(sockets_lock);
    void want_room() REQUIRES(sockets_lock); // at its peer, for who polls
    socket_address source() const REQUIRES(sockets_lock);
    status wait_for_news(uint64_t since, nanos_t deadline, const char* why);
    status wait(wait_queue& queue, nanos_t deadline, const char* why) REQUIRES(sockets_lock);
    nanos_t deadline_of(nanos_t timeout) const;

    expected<socket*> receiver(socket* to) REQUIRES(sockets_lock);
    status deliver(packet& p, socket* to, bool nonblocking, uint64_t& news);
    status deliver_by_name(packet& p, const socket_address& there, bool connected,
                           bool nonblocking);
    expected<int64_t> send_stream(uio& io, message& m);
    expected<int64_t> send_packet(uio& io, message& m);
    packet* front();
    packet* after(packet& p);
    void consume(packet& p, uint32_t bytes, bool whole) REQUIRES(read_lock_);
    void note(packet& p, message& m) REQUIRES(read_lock_);
    expected<int64_t> take_stream(uio& io, message& m) REQUIRES(read_lock_);
    expected<int64_t> take_packet(uio& io, message& m) REQUIRES(read_lock_);
    status wait_for_packet(bool nonblocking, nanos_t deadline, bool& end);
    status may_receive() REQUIRES(sockets_lock);
    expected<int32_t> number_of(int32_t option);
    linux_abi::linux_ucred peer_credentials();
    status set_buffer(uint32_t wanted, std::atomic<uint32_t>& buffer);

    sleep_lock read_lock_{lock_rank::pipe, "socket read"}; // one reader at a time

    stage stage_ GUARDED_BY(sockets_lock) = stage::fresh;
    bool read_shut_ GUARDED_BY(sockets_lock) = false, write_shut_ GUARDED_BY(sockets_lock) = false;
    Errno error_ GUARDED_BY(sockets_lock){}; // SO_ERROR; 0: none
    socket* peer_ GUARDED_BY(sockets_lock) = nullptr;
    socket_address name_ GUARDED_BY(sockets_lock), peer_name_ GUARDED_BY(sockets_lock);
    ref_ptr<vnode> place_ GUARDED_BY(sockets_lock); // of a name in a file system
    linux_abi::linux_ucred own_ GUARDED_BY(sockets_lock){}, other_ GUARDED_BY(sockets_lock){};
    packet_list queue_ GUARDED_BY(sockets_lock);
    carrier_list carriers_ GUARDED_BY(sockets_lock); // of `queue_`, those with files
    std::atomic<uint64_t> queued_{0};                // what they take; changed under sockets_lock
    uint32_t packets_ GUARDED_BY(sockets_lock) = 0;
    uint32_t backlog_most_ GUARDED_BY(sockets_lock) = 0, waiting_ GUARDED_BY(sockets_lock) = 0;
    wait_queue readers_ GUARDED_BY(sockets_lock); // for packets, or connections
    wait_queue senders_ GUARDED_BY(sockets_lock); // peers, for room in the queue
    // Who waits for room at one that he found by name does so here, and finds it again: kept, it
    // could not end. How often there was room somewhere.
    static wait_queue elsewhere GUARDED_BY(sockets_lock);
    static uint64_t news_count GUARDED_BY(sockets_lock);
    poll_queue pollers_;
    // Those connected to it that have asked for room since there was some, and their largest buffer.
    list<socket, &socket::among_wanting> wanting_ GUARDED_BY(sockets_lock);
    uint32_t wanted_most_ GUARDED_BY(sockets_lock) = 0;
    // In how many packets it travels; and of a search for circles.
    uint32_t in_flight_ GUARDED_BY(sockets_lock) = 0, inner_ GUARDED_BY(sockets_lock) = 0;
    bool reached_ GUARDED_BY(sockets_lock) = false;
    uint64_t visit_ GUARDED_BY(sockets_lock) = 0; // the last that came by

    std::atomic<uint32_t> send_buffer_, receive_buffer_;
    std::atomic<nanos_t> send_timeout_{forever}, receive_timeout_{forever};
    std::atomic<uint32_t> switches_{0}; // a bit for each SO_* that is on or off

    list<socket, &socket::among_connected> connected_ GUARDED_BY(sockets_lock); // to it
    ref_list<socket, &socket::in_backlog> backlog_ GUARDED_BY(sockets_lock);
};

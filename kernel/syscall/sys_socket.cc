// The calls of sockets: what they say in the program's memory, and what they get from there.
#include "kernel/abi/socket.h"
#include "kernel/abi/syscalls.h"
#include "kernel/files/permission.h"
#include "kernel/files/poll.h"
#include "kernel/process/process.h"
#include "kernel/process/security.h"
#include "kernel/process/thread.h"
#include "kernel/sockets/socket.h"
#include "kernel/syscall/segment_list.h"
#include "lib/long_work.h"

#include <algorithm>

using namespace linux_abi;

namespace {

fd_table& files() { return *current_thread().files; }

struct open_socket {
    ref_ptr<file> opened;
    socket* operator->() const { return opened->as_socket(); }
    bool nonblocking() const { return opened->nonblocking(); }
};

expected<open_socket> find(int fd) {
    ref_ptr<file> f = TRY(files().get(fd));
    if (f->flags() & o_path)
        return fail(Errno::badf);
    if (!f->as_socket())
        return fail(Errno::notsock);
    return open_socket{std::move(f)};
}

// What there is of a family. EAFNOSUPPORT EPROTONOSUPPORT ESOCKTNOSUPPORT EINVAL.
status check_kind(int family, uint32_t& type, int& protocol) {
    constexpr uint32_t types = 11;
    if ((type & ~(sock_type_mask | sock_nonblock | sock_cloexec)) ||
        (type & sock_type_mask) >= types)
        return fail(Errno::inval);
    type &= sock_type_mask;
    if (family == af_unix) {
        if (protocol != 0 && protocol != af_unix)
            return fail(Errno::protonosupport);
        protocol = 0;
        if (type == sock_raw)
            type = sock_dgram;
        if (type != sock_stream && type != sock_dgram && type != sock_seqpacket)
            return fail(Errno::socktnosupport);
        return {};
    }
    if (family != af_inet && family != af_inet6)
        return fail(Errno::afnosupport);
    if (type != sock_stream && type != sock_dgram)
        return fail(type == sock_raw && !is_superuser() ? Errno::perm : Errno::socktnosupport);
    const int only = type == sock_stream ? ipproto_tcp : ipproto_udp;
    if (protocol != 0 && protocol != only)
        return fail(Errno::protonosupport);
    protocol = only;
    return {};
}

// Writes an address where and as long as the program wants it. EFAULT EINVAL.
status give_address(const socket_address& from, user_ptr<void> to, user_ptr<uint32_t> size) {
    if (!to)
        return {};
    const auto room = int32_t(TRY(size.read()));
    if (room < 0)
        return fail(Errno::inval);
    TRY(copy_out(to.address(), from.bytes, std::min(uint32_t(room), from.size)));
    return size.write(from.size);
}

// ---- Control messages ------------------------------------------------------------------------

constexpr uint64_t control_most = 20480; // net.core.optmem_max
// Files under way, of a user. Who looks for circles goes through all.
constexpr uint64_t most_in_flight = 4096;
constexpr uint64_t aligned(uint64_t size) { return (size + 7) & ~uint64_t{7}; }

// EPERM: he is not the one he says.
status check_sender(const linux_ucred& said) {
    const credentials who = current_credentials();
    if (who.superuser())
        return {};
    if (said.pid != current_process().pid ||
        (said.uid != who.uid && said.uid != who.euid && said.uid != who.suid) ||
        (said.gid != who.gid && said.gid != who.egid && said.gid != who.sgid))
        return fail(Errno::perm);
    return {};
}

status take_rights(user_ptr<const int32_t> fds, uint64_t count, message& m) {
    if (m.with.files || count > scm_max_fd)
        return fail(Errno::inval);
    if (count == 0)
        return {};
    m.with.files = kmem_array<ref_ptr<file>>(count);
    if (!m.with.files)
        return fail(Errno::nomem);
    m.with.charge = TRY(
        user_charge::take(current_credentials().uid, user_resource::files_in_flight, count,
                          is_superuser() ? user_charge::no_limit
                                         : std::min(process_limit(rlimit_nofile), most_in_flight),
                          Errno::toomanyrefs));
    for (uint64_t i = 0; i < count; i++) {
        m.with.files[i] = TRY(files().get(TRY(fds.read_at(i))));
    }
    return {};
}

// What a program sends along with its bytes.
status take_control(const linux_msghdr& header, message& m, bool local) {
    if (header.control_size > control_most)
        return fail(Errno::nobufs);
    for (uint64_t at = 0; at + sizeof(linux_cmsghdr) <= header.control_size;) {
        const user_ptr<const linux_cmsghdr> user(header.control + at);
        const linux_cmsghdr h = TRY(user.read());
        if (h.size < sizeof h || h.size > header.control_size - at)
            return fail(Errno::inval);
        const uint64_t data = header.control + at + sizeof h, size = h.size - sizeof h;
        if (h.level == sol_socket && local) {
            if (h.type == scm_rights) {
                TRY(take_rights(user_ptr<const int32_t>(data), size / sizeof(int32_t), m));
            } else if (h.type == scm_credentials) {
                if (size != sizeof(linux_ucred))
                    return fail(Errno::inval);
                m.sender = TRY(user_ptr<const linux_ucred>(data).read());
                TRY(check_sender(m.sender));
                m.has_sender = true;
            } else {
                return fail(Errno::inval);
            }
        }
        at += aligned(h.size);
    }
    return {};
}

// Where a program gets what came with the bytes.
struct control_room {
    uint64_t at, left, used = 0;
    uint32_t flags = 0;

    // Whether a message of `size` bytes fits, or how much of it.
    uint64_t begin(int32_t type, uint64_t size) {
        if (left < sizeof(linux_cmsghdr)) {
            flags |= msg_ctrunc;
            return 0;
        }
        const uint64_t n = std::min(size, left - sizeof(linux_cmsghdr));
        if (n < size)
            flags |= msg_ctrunc;
        (void)type;
        return n;
    }
    status end(int32_t type, uint64_t size) {
        const linux_cmsghdr h{sizeof h + size, sol_socket, type};
        TRY(user_ptr<linux_cmsghdr>(at).write(h));
        const uint64_t whole = std::min(aligned(h.size), left);
        at += whole;
        left -= whole;
        used += whole;
        return {};
    }
    uint64_t data() const { return at + sizeof(linux_cmsghdr); }
};

status give_sender(control_room& room, const linux_ucred& sender) {
    const uint64_t n = room.begin(scm_credentials, sizeof sender);
    if (n == 0)
        return {};
    TRY(copy_out(vaddr_t(room.data()), &sender, n));
    return room.end(scm_credentials, n);
}

// Descriptors for as many files as there is room for; the others are dropped.
status give_rights(control_room& room, rights& with, bool close_on_exec) {
    const uint64_t fit =
        room.begin(scm_rights, with.files.size() * sizeof(int32_t)) / sizeof(int32_t);
    uint64_t n = 0;
    for (; n < fit; n++) {
        new_descriptor slot(files());
        auto fd = slot.reserve(close_on_exec);
        if (!fd || !user_ptr<int32_t>(room.data()).write_at(n, *fd)) {
            room.flags |= msg_ctrunc;
            break;
        }
        slot.install(std::move(with.files[n]));
    }
    return n ? room.end(scm_rights, n * sizeof(int32_t)) : status();
}

// ---- Messages --------------------------------------------------------------------------------

expected<int64_t> send_message(const open_socket& s, const linux_msghdr& header, uint32_t flags) {
    if (header.segment_count > 1024)
        return fail(Errno::msgsize);
    segment_list list;
    TRY(list.copy(user_ptr<const linux_iovec>(header.segments), int64_t(header.segment_count)));
    message m;
    m.flags = flags;
    socket_address to;
    if (header.name && header.name_size) {
        to = TRY(socket_address::copy(user_ptr<void>(header.name), header.name_size));
        m.to = &to;
    }
    if (header.control)
        TRY(take_control(header, m, s->family == af_unix));
    uio io(uio::direction::write, list.data(), list.size());
    return s->send(io, m);
}

expected<int64_t> receive_message(const open_socket& s, linux_msghdr& header, uint32_t flags) {
    if (header.segment_count > 1024)
        return fail(Errno::msgsize);
    if (int32_t(header.name_size) < 0)
        return fail(Errno::inval);
    segment_list list;
    TRY(list.copy(user_ptr<const linux_iovec>(header.segments), int64_t(header.segment_count)));
    message m;
    m.flags = flags;
    uio io(uio::direction::read, list.data(), list.size());
    const int64_t n = TRY(s->receive(io, m));
    control_room room{.at = header.control, .left = header.control ? header.control_size : 0};
    if (s->passes_credentials())
        TRY(give_sender(room, m.sender));
    if (m.with.files)
        TRY(give_rights(room, m.with, flags & msg_cmsg_cloexec));
    if (header.name) {
        TRY(copy_out(vaddr_t(header.name), m.from.bytes, std::min(header.name_size, m.from.size)));
        header.name_size = m.from.size;
    }
    header.control_size = room.used;
    header.flags = m.out_flags | room.flags | (flags & msg_cmsg_cloexec);
    return n;
}

status give_header(user_ptr<linux_msghdr> to, const linux_msghdr& header) {
    const vaddr_t at = to.address();
    TRY(copy_out(at + offsetof(linux_msghdr, name_size), &header.name_size, 4));
    TRY(copy_out(at + offsetof(linux_msghdr, control_size), &header.control_size, 8));
    return copy_out(at + offsetof(linux_msghdr, flags), &header.flags, 4);
}

} // namespace

// ---- The calls -------------------------------------------------------------------------------

sysresult sys_socket(int32_t family, sys_hex type, int32_t protocol) {
    uint32_t kind = type;
    TRY(check_kind(family, kind, protocol));
    auto made = TRY(socket::create(family, kind, protocol));
    if (type & sock_nonblock)
        made->set_flags(made->flags() | o_nonblock);
    return TRY(files().install(std::move(made), type & sock_cloexec));
}

sysresult sys_socketpair(int32_t family, sys_hex type, int32_t protocol, user_ptr<int32_t> fds) {
    uint32_t kind = type;
    TRY(check_kind(family, kind, protocol));
    if (family != af_unix)
        return fail(Errno::opnotsupp);
    auto a = TRY(socket::create(family, kind, protocol));
    auto b = TRY(socket::create(family, kind, protocol));
    if (type & sock_nonblock) {
        a->set_flags(a->flags() | o_nonblock);
        b->set_flags(b->flags() | o_nonblock);
    }
    socket::pair(*a, *b);
    new_descriptor first(files()), second(files());
    const int32_t numbers[2] = {TRY(first.reserve(type & sock_cloexec)),
                                TRY(second.reserve(type & sock_cloexec))};
    TRY(copy_out(fds.address(), numbers, sizeof numbers));
    first.install(std::move(a));
    second.install(std::move(b));
    return 0;
}

sysresult sys_bind(sys_fd fd, user_ptr<void> address, uint32_t size) {
    open_socket s = TRY(find(fd));
    TRY(s->bind(TRY(socket_address::copy(address, size))));
    return 0;
}

sysresult sys_listen(sys_fd fd, int32_t backlog) {
    open_socket s = TRY(find(fd));
    TRY(s->listen(backlog));
    return 0;
}

sysresult sys_connect(sys_fd fd, user_ptr<void> address, uint32_t size) {
    open_socket s = TRY(find(fd));
    TRY(s->connect(TRY(socket_address::copy(address, size)), s.nonblocking()));
    return 0;
}

sysresult sys_accept4(sys_fd fd, user_ptr<void> address, user_ptr<uint32_t> size,
                      sys_open_flags flags) {
    if (uint32_t(flags) & ~(sock_nonblock | sock_cloexec))
        return fail(Errno::inval);
    open_socket s = TRY(find(fd));
    new_descriptor slot(files());
    const int number = TRY(slot.reserve(uint32_t(flags) & sock_cloexec));
    auto accepted = TRY(s->accept(s.nonblocking()));
    if (uint32_t(flags) & sock_nonblock)
        accepted->set_flags(accepted->flags() | o_nonblock);
    if (address) {
        // Who has gone meanwhile has no name any more.
        TRY(give_address(accepted->peer_name().value_or(socket_address::of_family(s->family)),
                         address, size));
    }
    slot.install(std::move(accepted));
    return number;
}

sysresult sys_accept(sys_fd fd, user_ptr<void> address, user_ptr<uint32_t> size) {
    return sys_accept4(fd, address, size, sys_open_flags{0});
}

sysresult sys_getsockname(sys_fd fd, user_ptr<void> address, user_ptr<uint32_t> size) {
    open_socket s = TRY(find(fd));
    TRY(give_address(s->name(), address, size));
    return 0;
}

sysresult sys_getpeername(sys_fd fd, user_ptr<void> address, user_ptr<uint32_t> size) {
    open_socket s = TRY(find(fd));
    TRY(give_address(TRY(s->peer_name()), address, size));
    return 0;
}

sysresult sys_shutdown(sys_fd fd, int32_t how) {
    open_socket s = TRY(find(fd));
    TRY(s->shutdown(how));
    return 0;
}

sysresult sys_sendto(sys_fd fd, sys_in_bytes buffer, uint64_t size, sys_hex flags,
                     user_ptr<void> address, uint32_t address_size) {
    open_socket s = TRY(find(fd));
    TRY(check_range(buffer.address, size));
    message m;
    m.flags = flags;
    socket_address to;
    if (address) {
        to = TRY(socket_address::copy(address, address_size));
        if (to.size)
            m.to = &to;
    }
    uio io(uio::direction::write, buffer.address, std::min(size, uio_max));
    return s->send(io, m);
}

sysresult sys_recvfrom(sys_fd fd, sys_out_bytes buffer, uint64_t size, sys_hex flags,
                       user_ptr<void> address, user_ptr<uint32_t> address_size) {
    open_socket s = TRY(find(fd));
    TRY(check_range(buffer.address, size));
    message m;
    m.flags = flags;
    uio io(uio::direction::read, buffer.address, std::min(size, uio_max));
    const int64_t n = TRY(s->receive(io, m));
    TRY(give_address(m.from, address, address_size));
    return n;
}

sysresult sys_sendmsg(sys_fd fd, user_ptr<const linux_msghdr> user, sys_hex flags) {
    open_socket s = TRY(find(fd));
    return send_message(s, TRY(user.read()), flags);
}

sysresult sys_recvmsg(sys_fd fd, user_ptr<linux_msghdr> user, sys_hex flags) {
    open_socket s = TRY(find(fd));
    linux_msghdr header = TRY(user.read());
    const int64_t n = TRY(receive_message(s, header, flags));
    TRY(give_header(user, header));
    return n;
}

// Several at once: what has been done counts, whatever comes behind it.
template <class Each>
static sysresult each_message(user_ptr<linux_mmsghdr> user, uint32_t count, Each each) {
    constexpr uint32_t most = 1024;
    uint32_t done = 0;
    status result;
    for (; done < std::min(count, most) && result; done++) {
        result = long_work::go_on();
        if (result)
            result =
                each(user_ptr<linux_mmsghdr>(user.address() + done * sizeof(linux_mmsghdr)), done);
        if (!result)
            break;
    }
    if (done == 0 && !result)
        return fail(result.error());
    return done;
}

sysresult sys_sendmmsg(sys_fd fd, user_ptr<linux_mmsghdr> user, uint32_t count, sys_hex flags) {
    open_socket s = TRY(find(fd));
    return each_message(user, count, [&](user_ptr<linux_mmsghdr> at, uint32_t) -> status {
        const linux_mmsghdr one = TRY(at.read());
        const auto n = uint32_t(TRY(send_message(s, one.header, flags)));
        return copy_out(at.address() + offsetof(linux_mmsghdr, moved), &n, sizeof n);
    });
}

// The time is looked at between messages, as on Linux.
sysresult sys_recvmmsg(sys_fd fd, user_ptr<linux_mmsghdr> user, uint32_t count, sys_hex flags,
                       user_ptr<linux_timespec> timeout) {
    nanos_t deadline = forever;
    if (timeout)
        deadline = TRY(poll_deadline(TRY(timeout.read())));
    open_socket s = TRY(find(fd));
    return each_message(user, count, [&](user_ptr<linux_mmsghdr> at, uint32_t done) -> status {
        if (done && now() >= deadline)
            return fail(Errno::again);
        const bool wait = !done || !(flags & msg_waitforone);
        linux_mmsghdr one = TRY(at.read());
        const auto n = uint32_t(TRY(receive_message(
            s, one.header, (flags & ~msg_waitforone) | (wait ? 0 : uint32_t(msg_dontwait)))));
        TRY(give_header(user_ptr<linux_msghdr>(at.address()), one.header));
        return copy_out(at.address() + offsetof(linux_mmsghdr, moved), &n, sizeof n);
    });
}

sysresult sys_setsockopt(sys_fd fd, int32_t level, int32_t option, user_ptr<void> value,
                         uint32_t size) {
    open_socket s = TRY(find(fd));
    TRY(s->set_option(level, option, value, size));
    return 0;
}

sysresult sys_getsockopt(sys_fd fd, int32_t level, int32_t option, user_ptr<void> value,
                         user_ptr<uint32_t> size) {
    open_socket s = TRY(find(fd));
    const uint32_t n = TRY(s->get_option(level, option, value, TRY(size.read())));
    TRY(size.write(n));
    return 0;
}

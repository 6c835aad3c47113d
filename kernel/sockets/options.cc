// getsockopt(2) and setsockopt(2).
#include "kernel/files/permission.h"
#include "kernel/files/poll.h"
#include "kernel/sockets/socket.h"
#include "lib/string.h"

#include <algorithm>

using namespace linux_abi;

namespace {

constexpr uint32_t least_buffer = 4608, most_buffer = 212992;
constexpr int32_t tcp_nodelay = 1, tcp_maxseg = 2, tcp_cork = 3, tcp_keepidle = 4,
                  tcp_keepintvl = 5, tcp_keepcnt = 6, tcp_syncnt = 7, tcp_linger2 = 8,
                  tcp_defer_accept = 9, tcp_quickack = 12, tcp_user_timeout = 18, tcp_fastopen = 23;

// SO_* that are on or off. SO_REUSEADDR, SO_REUSEPORT and SO_PASSCRED say something here.
bool is_switch(int32_t option) {
    switch (option) {
    case so_reuseaddr:
    case so_dontroute:
    case so_broadcast:
    case so_keepalive:
    case so_oobinline:
    case so_reuseport:
    case so_passcred:
    case so_timestamp: return true;
    default: return false;
    }
}

// What says how packets go over a wire, which there is none of: taken, and as good as done.
bool of_the_wire(int32_t level, int32_t option) {
    if (level != ipproto_tcp)
        return (level == ipproto_ip || level == ipproto_ipv6) && option != ipv6_v6only;
    for (int32_t known :
         {tcp_nodelay, tcp_maxseg, tcp_cork, tcp_keepidle, tcp_keepintvl, tcp_keepcnt, tcp_syncnt,
          tcp_linger2, tcp_defer_accept, tcp_quickack, tcp_user_timeout, tcp_fastopen})
        if (option == known)
            return true;
    return false;
}

expected<nanos_t> timeout_of(user_ptr<void> value, uint32_t size) {
    if (size < sizeof(linux_timeval))
        return fail(Errno::inval);
    const linux_timeval t = TRY(value.as<const linux_timeval>().read());
    if (t.usec < 0 || t.usec >= 1'000'000)
        return fail(Errno::dom);
    if (t.sec < 0)
        return 0;
    if ((t.sec == 0 && t.usec == 0) || uint64_t(t.sec) > forever / nanos_per_second / 2)
        return forever;
    return uint64_t(t.sec) * nanos_per_second + uint64_t(t.usec) * 1000;
}

linux_timeval shown(nanos_t timeout) {
    if (timeout == forever)
        return {0, 0};
    return {int64_t(timeout / nanos_per_second), int64_t(timeout % nanos_per_second / 1000)};
}

} // namespace

// Twice what is asked for, as Linux reckons what it needs itself.
status socket::set_buffer(uint32_t wanted, std::atomic<uint32_t>& buffer) {
    buffer.store(std::max(std::min(wanted, most_buffer) * 2, least_buffer));
    return {};
}

status socket::set_option(int32_t level, int32_t option, user_ptr<void> value, uint32_t size) {
    if (int32_t(size) < 0)
        return fail(Errno::inval);
    if (level == sol_socket && (option == so_rcvtimeo || option == so_sndtimeo)) {
        (option == so_rcvtimeo ? receive_timeout_ : send_timeout_)
            .store(TRY(timeout_of(value, size)));
        return {};
    }
    if (size < sizeof(int32_t))
        return fail(level == sol_socket || !is_unix() ? Errno::inval : Errno::opnotsupp);
    const int32_t number = TRY(value.as<const int32_t>().read());
    const bool version_6_only = level == ipproto_ipv6 && option == ipv6_v6only;
    if ((level == sol_socket && is_switch(option)) || (version_6_only && family == af_inet6)) {
        const uint32_t bit = 1u << option;
        if (number)
            switches_ |= bit;
        else
            switches_ &= ~bit;
        return {};
    }
    if (level == sol_socket) {
        switch (option) {
        case so_sndbuf: return set_buffer(uint32_t(number), send_buffer_);
        case so_rcvbuf: return set_buffer(uint32_t(number), receive_buffer_);
        case so_sndbufforce:
        case so_rcvbufforce: return fail(Errno::perm);
        case so_linger:
        case so_priority:
        case so_rcvlowat: return {};
        default: return fail(Errno::noprotoopt);
        }
    }
    if (is_unix())
        return fail(Errno::opnotsupp);
    return of_the_wire(level, option) ? status() : fail(Errno::noprotoopt);
}

// Of SOL_SOCKET, what is a number. ENOPROTOOPT.
expected<int32_t> socket::number_of(int32_t option) {
    switch (option) {
    case so_type: return int32_t(type);
    case so_domain: return family;
    case so_protocol: return protocol;
    case so_sndbuf: return int32_t(send_buffer_.load());
    case so_rcvbuf: return int32_t(receive_buffer_.load());
    case so_priority: return 0;
    case so_rcvlowat: return 1;
    case so_error: {
        lock_guard guard(sockets_lock);
        return int32_t(take_error());
    }
    case so_acceptconn: {
        lock_guard guard(sockets_lock);
        return stage_ == stage::listening;
    }
    default:
        if (!is_switch(option))
            return fail(Errno::noprotoopt);
        return int32_t(switches_.load() >> option & 1);
    }
}

linux_ucred socket::peer_credentials() {
    lock_guard guard(sockets_lock);
    if (is_unix() && stage_ == stage::connected && by_connection())
        return other_;
    if (is_unix() && stage_ == stage::listening)
        return own_;
    return {0, UINT32_MAX, UINT32_MAX};
}

expected<uint32_t> socket::get_option(int32_t level, int32_t option, user_ptr<void> value,
                                      uint32_t size) {
    if (int32_t(size) < 0)
        return fail(Errno::inval);
    auto give = [&](const auto& what) -> expected<uint32_t> {
        const auto n = uint32_t(std::min<size_t>(size, sizeof what));
        TRY(copy_out(value.address(), &what, n));
        return n;
    };
    if (level == ipproto_ipv6 && option == ipv6_v6only && family == af_inet6)
        return give(int32_t(only_6()));
    if (level != sol_socket) {
        if (is_unix())
            return fail(Errno::opnotsupp);
        if (!of_the_wire(level, option))
            return fail(Errno::noprotoopt);
        return give(int32_t(level == ipproto_tcp && option == tcp_nodelay));
    }
    switch (option) {
    case so_peercred: return give(peer_credentials());
    case so_rcvtimeo: return give(shown(receive_timeout_.load()));
    case so_sndtimeo: return give(shown(send_timeout_.load()));
    case so_linger: return give(uint64_t{0}); // off
    default: return give(TRY(number_of(option)));
    }
}

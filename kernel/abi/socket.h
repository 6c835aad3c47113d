// Sockets as programs see them: Linux's numbers for x86-64.
#pragma once

#include <cstdint>

namespace linux_abi {

enum : int32_t { af_unspec = 0, af_unix = 1, af_inet = 2, af_inet6 = 10 };
enum : uint32_t {
    sock_stream = 1,
    sock_dgram = 2,
    sock_raw = 3,
    sock_seqpacket = 5,
    sock_type_mask = 15,
    sock_nonblock = 04000,
    sock_cloexec = 02000000,
};
enum : int32_t { ipproto_ip = 0, ipproto_tcp = 6, ipproto_udp = 17, ipproto_ipv6 = 41 };
enum : uint32_t { // flags of send(2) and recv(2)
    msg_peek = 2,
    msg_ctrunc = 8,
    msg_trunc = 0x20,
    msg_dontwait = 0x40,
    msg_waitall = 0x100,
    msg_nosignal = 0x4000,
    msg_waitforone = 0x10000,
    msg_cmsg_cloexec = 0x40000000,
};
enum : int32_t { sol_socket = 1 };
enum : int32_t { // of SOL_SOCKET
    so_reuseaddr = 2,
    so_type = 3,
    so_error = 4,
    so_dontroute = 5,
    so_broadcast = 6,
    so_sndbuf = 7,
    so_rcvbuf = 8,
    so_keepalive = 9,
    so_oobinline = 10,
    so_priority = 12,
    so_linger = 13,
    so_reuseport = 15,
    so_passcred = 16,
    so_peercred = 17,
    so_rcvlowat = 18,
    so_rcvtimeo = 20,
    so_sndtimeo = 21,
    so_timestamp = 29,
    so_acceptconn = 30,
    so_sndbufforce = 32,
    so_rcvbufforce = 33,
    so_protocol = 38,
    so_domain = 39,
};
enum : int32_t { ipv6_v6only = 26 };
enum : int32_t { shut_rd, shut_wr, shut_rdwr };
enum : int32_t { scm_rights = 1, scm_credentials = 2 };
inline constexpr uint32_t scm_max_fd = 253;

struct linux_ucred {
    int32_t pid;
    uint32_t uid, gid;
    friend bool operator==(const linux_ucred&, const linux_ucred&) = default;
};
struct linux_cmsghdr {
    uint64_t size; // with this header
    int32_t level, type;
};
struct linux_sockaddr_in {
    uint16_t family, port; // the port in network order
    uint8_t address[4], zero[8];
};
struct linux_sockaddr_in6 {
    uint16_t family, port;
    uint32_t flow;
    uint8_t address[16];
    uint32_t scope;
};

} // namespace linux_abi

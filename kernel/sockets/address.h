// Addresses of sockets, as programs give them.
#pragma once

#include "kernel/abi/socket.h"
#include "kernel/base/user_ptr.h"
#include "lib/result.h"

#include <cstdint>

// A struct sockaddr of a family that is known, in its full size; or none, of size 0.
struct socket_address {
    static constexpr uint32_t most = 128; // sockaddr_storage
    static constexpr uint32_t path_most = 108;

    // From a program. EINVAL EFAULT.
    static expected<socket_address> copy(user_ptr<void> from, uint32_t size);
    static socket_address of_family(int family) {
        socket_address a;
        a.size = 2;
        a.bytes[0] = uint8_t(family);
        return a;
    }
    int family() const { return size < 2 ? 0 : bytes[0] | bytes[1] << 8; }

    // AF_UNIX.
    bool abstract() const { return size > 2 && bytes[2] == 0; }
    bool path() const { return size > 2 && bytes[2] != 0; }
    const char* path_text() const { return reinterpret_cast<const char*>(bytes + 2); } // with a NUL

    // AF_INET and AF_INET6.
    uint16_t port() const { return uint16_t(bytes[2] << 8 | bytes[3]); }
    void set_port(uint16_t port) {
        bytes[2] = uint8_t(port >> 8);
        bytes[3] = uint8_t(port);
    }
    bool any() const;      // 0.0.0.0 or ::
    bool mapped() const;   // ::ffff:a.b.c.d
    bool loopback() const; // 127.0.0.0/8 or ::1, also as ::ffff:127.0.0.1
    // As that of a socket of `family`: ::ffff:a.b.c.d for a.b.c.d, and loopback for any.
    socket_address seen_by(int family) const;
    void become_loopback(); // of any()
    friend bool operator==(const socket_address& a, const socket_address& b);

    uint32_t size = 0;
    uint8_t bytes[most + 1]{};
};

#include "kernel/sockets/address.h"

#include "lib/string.h"

#include <algorithm>

using namespace linux_abi;

namespace {

constexpr uint32_t in_size = sizeof(linux_sockaddr_in), in6_size = sizeof(linux_sockaddr_in6);
constexpr uint32_t in_at = 4, in6_at = 8; // where the address begins
constexpr uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool zeros(const uint8_t* bytes, size_t n) {
    return std::all_of(bytes, bytes + n, [](uint8_t b) { return b == 0; });
}

} // namespace

expected<socket_address> socket_address::copy(user_ptr<void> from, uint32_t size) {
    if (size > most)
        return fail(Errno::inval);
    socket_address a;
    if (size == 0)
        return a;
    TRY(copy_in(a.bytes, from.address(), size));
    a.size = size;
    if (size < 2)
        return fail(Errno::inval);
    switch (a.family()) {
    case af_unix:
        if (size > 2 + path_most)
            return fail(Errno::inval);
        if (a.path()) // up to its NUL
            a.size = uint32_t(2 + strnlen(a.path_text(), size - 2) + 1);
        break;
    case af_inet:
        if (size < in_size)
            return fail(Errno::inval);
        a.size = in_size;
        memset(a.bytes + in_at + 4, 0, in_size - in_at - 4);
        break;
    case af_inet6:
        if (size < in6_at + 16)
            return fail(Errno::inval);
        a.size = in6_size;
        memset(a.bytes + 4, 0, 4);
        memset(a.bytes + in6_at + 16, 0, 4);
        break;
    default: break;
    }
    return a;
}

bool socket_address::any() const {
    return family() == af_inet ? zeros(bytes + in_at, 4) : zeros(bytes + in6_at, 16);
}

bool socket_address::mapped() const {
    return family() == af_inet6 && memcmp(bytes + in6_at, mapped_prefix, sizeof mapped_prefix) == 0;
}

bool socket_address::loopback() const {
    if (family() == af_inet)
        return bytes[in_at] == 127;
    return mapped() ? bytes[in6_at + 12] == 127
                    : zeros(bytes + in6_at, 15) && bytes[in6_at + 15] == 1;
}

void socket_address::become_loopback() {
    if (family() == af_inet) {
        bytes[in_at] = 127;
        bytes[in_at + 3] = 1;
    } else {
        bytes[in6_at + 15] = 1;
    }
}

socket_address socket_address::seen_by(int by) const {
    socket_address a = *this;
    if (family() == af_inet && by == af_inet6) {
        a = of_family(af_inet6);
        a.size = in6_size;
        a.set_port(port());
        memcpy(a.bytes + in6_at, mapped_prefix, sizeof mapped_prefix);
        std::copy_n(bytes + in_at, 4, a.bytes + in6_at + sizeof mapped_prefix);
    } else if (by == af_inet && mapped()) {
        a = of_family(af_inet);
        a.size = in_size;
        a.set_port(port());
        memcpy(a.bytes + in_at, bytes + in6_at + sizeof mapped_prefix, 4);
    }
    return a;
}

bool operator==(const socket_address& a, const socket_address& b) {
    return a.size == b.size && memcmp(a.bytes, b.bytes, a.size) == 0;
}

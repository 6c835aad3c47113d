// epoll(7) as programs see it.
#pragma once

#include <cstdint>

namespace linux_abi {

enum : int32_t { epoll_ctl_add = 1, epoll_ctl_del = 2, epoll_ctl_mod = 3 };
enum : uint32_t { // of events, beside POLL*
    epollmsg = 0x400,
    epollexclusive = 1u << 28,
    epollwakeup = 1u << 29, // there is no suspend: says nothing
    epolloneshot = 1u << 30,
    epollet = 1u << 31,
};

} // namespace linux_abi

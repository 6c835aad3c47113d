// epoll(7): a file that knows which of the files put into it are ready.
#pragma once

#include <atomic>
#include <cstdint>

// How many files a user may have in all his epolls (/proc/sys/fs/epoll/max_user_watches).
extern std::atomic<uint64_t> epoll_max_user_watches;
// Says so, of so many bytes of memory. Once, at boot.
void epoll_init(uint64_t memory);

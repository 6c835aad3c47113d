// Waiting for several files at once: poll(2), select(2).
#pragma once

#include "kernel/sched/poller.h"

#include <cstdint>

enum : uint32_t {
    POLLIN_ = 1,
    POLLPRI_ = 2,
    POLLOUT_ = 4,
    POLLERR_ = 8,
    POLLHUP_ = 16,
    POLLNVAL_ = 32,
    POLLRDNORM_ = 64,
    POLLRDBAND_ = 128,
    POLLWRNORM_ = 256,
    POLLWRBAND_ = 512,
    POLLRDHUP_ = 0x2000,
};

struct thread;

// restart_syscall(2) for a thread whose poll(2) a signal without a handler interrupted
// (thread::restart_kind::poll): waits for what is left of the time.
expected<int64_t> poll_restart(thread& self);

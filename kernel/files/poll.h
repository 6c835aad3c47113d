// Waiting for several files at once: poll(2), select(2). epoll(7) is in epoll.cc.
#pragma once

#include "kernel/abi/arguments.h"
#include "kernel/abi/files.h"
#include "kernel/sched/poller.h"

#include <cstdint>

struct thread;

// Until when to wait, of a time from the program; below 0 milliseconds: for ever.
nanos_t poll_deadline(int32_t milliseconds);
// EINVAL unless it is normalised.
expected<nanos_t> poll_deadline(const linux_timespec& time);

// restart_syscall(2) for a thread whose poll(2) a signal without a handler interrupted
// (thread::restart_kind::poll): waits for what is left of the time.
expected<int64_t> poll_restart(thread& self);

// Waiting for several files at once: poll(2), select(2).
#pragma once

#include "kernel/abi/files.h"
#include "kernel/sched/poller.h"

#include <cstdint>

struct thread;

// restart_syscall(2) for a thread whose poll(2) a signal without a handler interrupted
// (thread::restart_kind::poll): waits for what is left of the time.
expected<int64_t> poll_restart(thread& self);

// Futexes: see kernel/memory/futex.cc.
#pragma once

#include "lib/result.h"

#include <cstdint>

struct thread;

// What a thread that ends, or that executes another program, still owes in its address space: the
// words of its robust list get FUTEX_OWNER_DIED, the word of CLONE_CHILD_CLEARTID is zeroed, and
// their waiters wake. May sleep.
void futex_thread_exit(thread& self);

// restart_syscall(2) for a thread whose wait with a time-out a signal without a handler interrupted
// (thread::restart_kind::futex).
expected<int64_t> futex_restart(thread& self);

// What a parent is told of its child.
#pragma once

#include "kernel/abi/signal.h"
#include "kernel/process/process.h"
#include "lib/no_alloc.h"

// A SIGCHLD about `p`, but for code and status.
linux_siginfo child_siginfo(process& p) REQUIRES(process_tree_lock);
// The parent's news, `code`: CLD_STOPPED or CLD_CONTINUED. Wakes wait4 and sends SIGCHLD as
// SA_NOCLDSTOP says.
NO_ALLOC void process_tell_parent(process& p, int32_t code) REQUIRES(process_tree_lock);

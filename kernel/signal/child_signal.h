// What a parent is told of its child.
#pragma once

#include "kernel/abi/signal.h"
#include "kernel/process/process.h"

// A SIGCHLD about `p`, but for code and status.
linux_siginfo child_siginfo(process& p) REQUIRES(process_tree_lock);
// Of the end of `p` or of one of its threads, with `wait_status`.
linux_siginfo ended_siginfo(process& p, int wait_status) REQUIRES(process_tree_lock);

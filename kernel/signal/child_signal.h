// What a parent is told of its child.
#pragma once

#include "kernel/abi/signal.h"
#include "kernel/process/process.h"

// A SIGCHLD about `p`, but for code and status.
linux_siginfo child_siginfo(process& p) REQUIRES(process_tree_lock);

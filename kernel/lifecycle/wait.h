// What exit.cc, wait.cc and sys_process.cc share: the resources of a process, as the ABI writes
// them.
#pragma once

#include "kernel/process/process.h"
#include "kernel/syscall/syscall.h"

// What its living threads and those that have ended have used.
usage process_usage(process& p) REQUIRES(process_tree_lock);
usage thread_usage(const thread& t);
linux_rusage usage_to_linux(const usage& u);
// A SIGCHLD about `p`, but for code and status.
linux_siginfo child_siginfo(process& p) REQUIRES(process_tree_lock);

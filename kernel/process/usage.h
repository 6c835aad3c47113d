// The resources that a process has used, as the ABI writes them.
#pragma once

#include "kernel/abi/arguments.h"
#include "kernel/process/process.h"

// What its living threads and those that have ended have used.
usage process_usage(process& p) REQUIRES(process_tree_lock);
usage thread_usage(const thread& t);
linux_rusage usage_to_linux(const usage& u);

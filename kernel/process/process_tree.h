// The lock of the table of pids and of the family tree: of processes and threads, who is whose
// parent or child, in which group and session, and of what one process is told of another.
#pragma once

#include "lib/lock.h"

extern spin_lock process_tree_lock;

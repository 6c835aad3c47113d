// What a parent hears when a process has ended.
#pragma once

#include "kernel/process/process.h"

// Tells the parent about a zombie: by its signal, and who waits. True if nobody is going to wait for
// it. While a thread of another process than the parent's traces it, nothing: that hears of it
// first, and when it has waited or let go, the parent.
bool tell_parent_of_end(process& p) REQUIRES(process_tree_lock);

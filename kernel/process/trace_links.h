// Who traces whom: kernel/process/tracee.h has what the two know of each other.
#pragma once

#include "kernel/process/process.h"
#include "kernel/process/tracee.h"

// `t` is traced by `tracer` from now on.
void trace_link(thread& t, thread& tracer, ref_ptr<tracee> how) REQUIRES(process_tree_lock);
// No longer. One that stops goes on. The reference of who is traced goes with it.
void trace_unlink(tracee& t) REQUIRES(process_tree_lock);
// By its tid; or by a pid the first thread of a process, though it has left. Null: it is not traced.
tracee* tracee_find(pid_t tid) REQUIRES(process_tree_lock);
// Whose first thread is traced: how. Null: it is not.
tracee* trace_of_process(const process& p) REQUIRES(process_tree_lock);
// The process whose thread traces the first one of `p`, or null.
process* tracer_of(const process& p) REQUIRES(process_tree_lock);
// There is something that the tracer may wait for, or no longer.
void trace_has_news(tracee& t) REQUIRES(process_tree_lock);
void trace_has_no_news(tracee& t) REQUIRES(process_tree_lock);

// Who traces whom, as the end of a tracer and exec see it. ptrace(2) itself is a call.
#pragma once

#include "kernel/process/process.h"
#include "lib/no_alloc.h"

// The running thread ends: whom it traces goes on without it, or with PTRACE_O_EXITKILL dies. No
// locks held; may sleep.
NO_ALLOC void tracer_exiting(thread& self);
// It no longer traces `t`. A zombie's parent hears of it now; one that nobody waits for is returned,
// to be let go of without the lock.
[[nodiscard]] ref_ptr<process> tracer_lets_go(tracee& t) REQUIRES(process_tree_lock);
// Whether an exec of the running thread may give new rights: not under the eyes of a tracer who was
// not root. If so, nobody begins to trace its process until process::gains_rights is false again.
bool exec_may_gain_rights(thread& self);

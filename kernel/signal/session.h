// Process groups and sessions: who shares a terminal, and whose jobs are whose.
//
// A process is in one group (process::group, the pid of the process that founded it) and in one
// session (process::sess). A group lies within one session. Everything here is guarded by
// process_tree_lock.
#pragma once

#include "kernel/process/process.h"

// exit.cc calls this once for a process whose last thread is ending, before its children find a new
// parent; no locks held. A session leader gives up the controlling terminal (SIGHUP and SIGCONT to
// its foreground group), and its group, if it is orphaned by this end and has stopped members, gets
// SIGHUP and SIGCONT.
void session_process_exiting(process& p);
// The same for the group of `child`, whose parent was `by` and is another one now. False if it
// could not be orphaned by that, else all processes have been looked at.
bool session_child_left(const process& child, const process& by) REQUIRES(process_tree_lock);

// The process after `p` in the family tree, parents first; null at the end. Begin with
// init_process.
process* process_tree_next(process& p, const process* root = init_process)
    REQUIRES(process_tree_lock);

// Whether a process is in `group`; one that has ended is until it is waited for, so that a pipeline
// whose first process is gone already is still a group. `of`: only if it is of that session (null:
// any).
bool group_exists(pid_t group, const session* of) REQUIRES(process_tree_lock);
// Whether no member of `group` has a parent in another group of the same session: nobody is left
// who would continue it. `leaving`, which may be null, counts as gone and its children as init's.
bool group_orphaned(pid_t group, const process* leaving) REQUIRES(process_tree_lock);

// kernel/tty: the session's leader ends, and the terminal is let go of. No locks held.
void tty_session_ends(session& s);

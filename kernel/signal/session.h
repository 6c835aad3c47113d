// Job control: who moves between process groups and sessions (kernel/process/process_group.h), and
// what an end does to them.
#pragma once

#include "kernel/process/process.h"

// SIGHUP and SIGCONT to all members, if there is such a group.
void group_hang_up(pid_t id) EXCLUDES(process_tree_lock);

// exit.cc calls this once for a process whose last thread is ending, before its children find a new
// parent; no locks held. A session leader gives up the controlling terminal (SIGHUP and SIGCONT to
// its foreground group), and its group, if it is orphaned by this end and has stopped members, gets
// SIGHUP and SIGCONT.
void session_process_exiting(process& p);

// kernel/tty's: the leader of `s` is ending. Its terminal becomes nobody's, SIGHUP and SIGCONT go to
// the foreground group, and the descriptions that the session has opened are hung up. No locks held.
void tty_session_ends(session& s);

// Pids: which numbers are in use, and which of them by a process, or by a group or session whose
// founder may be gone. Who has a number is told by kernel/process/process.h and process_group.h.
#pragma once

#include "kernel/process/process_tree.h"

inline constexpr pid_t pid_max = 32768;

// A number for a process or a thread; 0 when there are none left.
pid_t pid_allocate();
pid_t pid_allocate_for_init(); // 1
void pid_release(pid_t pid);
// The same under the lock, of a thread or process that leaves its table.
void pid_free(pid_t pid) REQUIRES(process_tree_lock);
// The first number in use from `from` on; pid_max if there is none.
pid_t pid_next(pid_t from) REQUIRES(process_tree_lock);

// That a process has this number; and the first such from `from` on, or pid_max.
void pid_of_process(pid_t pid, bool is) REQUIRES(process_tree_lock);
pid_t pid_next_process(pid_t from) REQUIRES(process_tree_lock);

// The number is not given to a process, as one in use: a group or a session has it.
void pid_keep(pid_t pid, bool keep) REQUIRES(process_tree_lock);
pid_t pid_next_kept(pid_t from) REQUIRES(process_tree_lock);

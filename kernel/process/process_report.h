// What others are told of a process: whether it runs, has stopped or has ended, and how. wait4 and
// its kin report it, and /proc shows it.
#pragma once

#include "kernel/process/process_tree.h"
#include "kernel/process/usage.h"

#include <cstdint>

enum class process_state : uint8_t { alive, stopped, zombie };

// A part of a process. (Which of its threads have stopped yet, and which leave, its signals know.)
struct process_report {
    process_state state GUARDED_BY(process_tree_lock) = process_state::alive;
    // setpgid by the parent is refused after exec.
    bool executed GUARDED_BY(process_tree_lock) = false;
    // SIGCHLD; it is that also if the parent runs another program by then.
    int exit_signal GUARDED_BY(process_tree_lock) = 17;
    // Its parent's security_context::program when that made this one.
    uint64_t parent_program GUARDED_BY(process_tree_lock) = 0;
    // What its threads leave with once signals.exiting, and then as wait4 reports it.
    int group_exit_status GUARDED_BY(process_tree_lock) = 0;
    int wait_status GUARDED_BY(process_tree_lock) = 0;
    // comm of the last thread, for ps, once there is none any more.
    char last_name[16] GUARDED_BY(process_tree_lock) = {};
    int stop_signo GUARDED_BY(process_tree_lock) = 0; // what a stop is reported with
    // What wait4 has told of the state.
    bool stop_reported GUARDED_BY(process_tree_lock) = true;
    bool continue_reported GUARDED_BY(process_tree_lock) = true;
    usage own_usage GUARDED_BY(process_tree_lock); // of threads that have ended
};

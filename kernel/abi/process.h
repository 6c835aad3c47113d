// Processes as programs see them: Linux's numbers for x86-64. Those of clone(2) are in
// kernel/abi/clone_flags.h.
#pragma once

#include <cstdint>

namespace linux_abi {

enum : uint32_t { // wait4(2), waitid(2)
    wnohang = 1,
    wstopped = 2,
    wuntraced = wstopped, // wait4's name for it
    wexited = 4,
    wcontinued = 8,
    wnowait = 0x0100'0000,
    wnothread = 0x2000'0000,
    wall = 0x4000'0000,
    wclone = 0x8000'0000,
};
enum : int32_t { p_all = 0, p_pid = 1, p_pgid = 2, p_pidfd = 3 };
enum : unsigned { // getrlimit(2)
    rlimit_cpu,
    rlimit_fsize,
    rlimit_data,
    rlimit_stack,
    rlimit_core,
    rlimit_rss,
    rlimit_nproc,
    rlimit_nofile,
    rlimit_memlock,
    rlimit_as,
    rlimit_locks,
    rlimit_sigpending,
    rlimit_msgqueue,
    rlimit_nice,
    rlimit_rtprio,
    rlimit_rttime,
    rlimit_count,
};
// Scheduling classes.
enum : int32_t {
    sched_other = 0,
    sched_fifo = 1,
    sched_rr = 2,
    sched_batch = 3,
    sched_idle = 5,
    sched_deadline = 6,
};

enum : int32_t { prio_process = 0, prio_pgrp = 1, prio_user = 2 };
enum : int32_t { // prctl(2)
    pr_set_pdeathsig = 1,
    pr_get_pdeathsig = 2,
    pr_get_dumpable = 3,
    pr_set_dumpable = 4,
    pr_set_name = 15,
    pr_get_name = 16,
    pr_capbset_read = 23,
    pr_set_timerslack = 29,
    pr_get_timerslack = 30,
    pr_set_child_subreaper = 36,
    pr_get_child_subreaper = 37,
    pr_set_no_new_privs = 38,
    pr_get_no_new_privs = 39,
};

} // namespace linux_abi

struct linux_rlimit {
    uint64_t current, maximum;
};

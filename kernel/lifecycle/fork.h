// Making processes and threads: fork, vfork, clone, clone3 and afork fill in clone_args and call
// process_create.
#pragma once

#include "kernel/abi/clone_flags.h"
#include "kernel/base/user_ptr.h"
#include "kernel/files/poll.h"
#include "kernel/process/thread.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"

// Where a child of afork begins, and the O_CLOEXEC and O_NONBLOCK of its parent's descriptor.
struct afork_start {
    vaddr_t function;
    uint64_t argument;
    uint32_t descriptor_flags;
};

struct clone_args {
    uint64_t flags = 0;             // CLONE_*: what is shared, and what happens besides
    int exit_signal = 0;            // what the parent gets when the child ends; 0: nothing
    vaddr_t stack{};                // the child's stack pointer; 0: the same as the caller's
    user_ptr<int32_t> parent_tid{}; // CLONE_PARENT_SETTID
    user_ptr<int32_t> child_tid{};  // CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID
    uint64_t tls = 0;               // CLONE_SETTLS
    user_ptr<int32_t> pidfd{};      // CLONE_PIDFD: where the descriptor's number is stored
    const afork_start* afork = nullptr;
};

struct created_process {
    pid_t pid;
    int descriptor = -1; // afork's
};

// Makes a process, or with CLONE_THREAD a thread of the running process, that returns to user mode
// with a copy of the caller's registers and 0 as its result (with afork: at its start). With
// CLONE_VFORK the calling thread sleeps until the child has let go of the address space. EINVAL and
// EPERM for flags that contradict each other or are not honoured; EAGAIN (pids, RLIMIT_NPROC),
// EMFILE, EFAULT (of the pidfd) and ENOMEM leave no trace; ERESTARTNOINTR when a signal comes
// first.
expected<created_process> process_create(const clone_args& args);

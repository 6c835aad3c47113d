// Making processes and threads: fork, vfork, clone and clone3 fill in clone_args and call
// process_create.
#pragma once

#include "kernel/clone_flags.h"
#include "kernel/thread.h"
#include "kernel/user_ptr.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"

struct clone_args {
    uint64_t flags = 0;             // CLONE_*: what is shared, and what happens besides
    int exit_signal = 0;            // what the parent gets when the child ends; 0: nothing
    vaddr_t stack{};                // the child's stack pointer; 0: the same as the caller's
    user_ptr<int32_t> parent_tid{}; // CLONE_PARENT_SETTID
    user_ptr<int32_t> child_tid{};  // CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID
    uint64_t tls = 0;               // CLONE_SETTLS
};

// Makes a process, or with CLONE_THREAD a thread of the running process, that returns to user mode
// with a copy of the caller's registers and 0 as its result. Returns its pid (tid). With
// CLONE_VFORK the calling thread sleeps until the child has let go of the address space. EINVAL and
// EPERM for flags that contradict each other or are not honoured; EAGAIN (pids, RLIMIT_NPROC) and
// ENOMEM leave no trace; ERESTARTNOINTR when a signal comes first.
expected<pid_t> process_create(const clone_args& args);

// The wait of a vfork's parent for its child. The parent's thread and the child's
// (thread::vfork_parent) hold a reference each.
struct vfork_wait : ref_counted<vfork_wait> {
    // ENOMEM.
    static expected<ref_ptr<vfork_wait>> create();
    void last_reference_gone();

    // The child: the address space is let go of. The parent goes on.
    void release();
    // The parent: sleeps until then. Signals stay pending.
    void wait();

private:
    spin_lock lock_{lock_rank::wait, "vfork_wait"};
    wait_queue parent_ GUARDED_BY(lock_);
    bool released_ GUARDED_BY(lock_) = false;
};

// exec and exit: tells whoever waits for the running thread to let go of the address space that it
// has.
void vfork_release(thread& self);

// What must be true at the end of each step by which processes come, change and go; looked at where
// the command line has the word `check`, as the rules of address spaces are (vm/vmspace.h), in
// builds with SPORK_CHECKS. One that is broken is a panic that says it, with the process.
//
// All that is looked at is the running process's own, or its child's; the work is bounded, and no
// lock is held for more than some dozen steps of it.
#pragma once

#include "kernel/process/process_tree.h"
#include "lib/types.h"

struct process;
struct thread;
struct usage;

// A child that is complete and has not run: its memory, descriptors and first registers.
// `shares_vm`, `shares_files`: as its maker asked.
void check_fork_seam(thread& child, bool shares_vm, bool shares_files);
// The running thread has waited in vfork for a child; `over`: and that has let go.
void check_vfork_wait_seam(bool over);
// That one has let go; `woken`: and nobody who waits for it sleeps.
void check_woken_seam(bool woken);
// The running thread has let go of its vfork parent's address space, by exec or by exit.
void check_vfork_release_seam(const thread& self, bool by_exec);
// The running thread is a new program.
void check_exec_seam(thread& self);
// The running process, whose last thread ends, is a zombie.
void check_exit_seam(process& p) REQUIRES(process_tree_lock);
// What a child has used is in its parent's account of its children.
void check_usage_seam(process& parent, const usage& used) REQUIRES(process_tree_lock);
// A zombie whose end was told, with its references dropped: nobody finds it any more.
void check_wait_seam(pid_t pid, uint64_t serial);
// A system call is over, and has not ended its thread.
void check_call_seam(const thread& self, const char* call);
// Only init is left: all that others had has been given back.
void check_power_off_seam();

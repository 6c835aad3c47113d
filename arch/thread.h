// The machine's share of a thread: saved kernel context, FPU state, TLS bases and
// segment selectors.
// machine_thread itself is in <machine/thread_machine.h>.
#pragma once

#include "lib/result.h"
#include "lib/types.h"

#include <machine/thread_machine.h>

struct thread;
struct trap_frame;
class pmap;

// Allocates the kernel stack (16 KiB, with an unmapped guard page below) and the FPU area. ENOMEM.
// May sleep.
status machine_thread_create(machine_thread& m);
// Gives both back. Not on the running thread's own stack.
void machine_thread_destroy(machine_thread& m);

// What a thread that will run in user mode has there, one of these first: the state of a program
// that begins; or, for fork, FPU state, selectors, FS and GS base as the calling thread's now are.
void machine_thread_begin_user_state(machine_thread& m);
void machine_thread_copy_user_state(machine_thread& child, machine_thread& running_parent);

// First run of a thread: `entry(argument)` on its empty kernel stack, interrupts on, never returns.
void machine_thread_start_kernel(machine_thread& m, void (*entry)(void*), void* argument);
// First run of a thread: returns to user mode with a copy of `frame` (after before_return_to_user),
// having called `first(argument)` in kernel mode first (may be null): finishing a switch,
// CHILD_SETTID stores and the like.
void machine_thread_start_user(machine_thread& m, const trap_frame& frame, void (*first)(void*),
                               void* argument);
// CLONE_SETTLS, for a thread that has not run yet: its FS base, and no selector.
void machine_thread_set_tls(machine_thread& m, uint64_t fs_base);
// exec: fresh FPU state, no TLS, no selectors. For the running thread.
void machine_thread_reset_user_state(machine_thread& running);

// Switches kernel stacks, FPU state, selectors, FS/GS bases and the TSS's stack, with interrupts
// off. Returns when somebody switches back to `from`. Page tables are switched by pmap::activate().
void machine_switch(machine_thread& from, machine_thread& to);

// TLS base of the running thread (arch_prctl); its selector goes. EPERM for an address outside the
// user half.
status machine_set_fs_base(uint64_t value);
status machine_set_gs_base(uint64_t value);
// The trap frame at the base of a thread's kernel stack, through which it entered from user mode.
trap_frame& machine_user_frame(machine_thread& m);

// The si_code of SIGFPE for a floating-point exception of the running thread (vector 16: x87, 19:
// SSE).
int machine_fpu_exception_code(unsigned vector);

// As the program may have changed them itself since.
uint64_t machine_fs_base();
uint64_t machine_gs_base();

// Gives the pages of cached kernel stacks and FPU areas back (leak checks).
void machine_thread_trim();

// Prints a backtrace of a thread that is not running, without the innermost calls that it has
// switched by.
void machine_backtrace(machine_thread& m);

// Where arch/x86_64 enters the machine-independent kernel. Nothing else calls up.
#pragma once

#include "arch/prot.h"
#include "lib/no_alloc.h"
#include "lib/types.h"

struct boot_info;
struct trap_frame;

// On the boot CPU's first stack, with paging, per-CPU data, traps and the console's polled output
// up; interrupts off; no allocator yet. Brings everything up and becomes CPU 0's idle thread.
[[noreturn]] void kernel_main(boot_info& info);
// On each further CPU, once it is set up. Becomes its idle thread.
[[noreturn]] void secondary_cpu_main();

// The SYSCALL instruction: number and arguments in the frame, the result goes there. Interrupts on.
void handle_syscall(trap_frame& frame);

// A page fault. From user mode: resolves it or posts a signal. From kernel mode: returns whether it
// was a user address and has been resolved; otherwise arch looks for a fixup and panics without
// one. Interrupts on if the interrupted code had them on; with them off (spin lock held) only
// `false` is possible. `present`: the processor found a mapping that lacks the right.
bool handle_page_fault(trap_frame& frame, vaddr_t address, vm_prot access, bool user_mode,
                       bool present);

// Any other exception from user mode (vector as in Intel's SDM vol. 3, ch. 6). Posts a signal.
void handle_user_exception(trap_frame& frame, unsigned vector, uint64_t error_code);

// The per-CPU timer interrupt (one-shot, see arch/timer.h); interrupts off.
NO_ALLOC void handle_timer_interrupt();
// The reschedule interrupt; interrupts off.
void handle_reschedule_interrupt();
// On the way to user mode while work is pending for the thread (machine_thread::work_pending);
// interrupts on. Preemption, signals, exit.
void before_return_to_user(trap_frame& frame);
// Last thing before every return to user mode; interrupts off.
void leaving_kernel(const trap_frame& frame);

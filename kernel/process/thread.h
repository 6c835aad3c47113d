// thread: one flow of control, with its kernel stack. A process has one or more; kernel threads
// belong to the kernel process.
#pragma once

#include "arch/prot.h"
#include "arch/thread.h"
#include "kernel/process/process_tree.h"
#include "kernel/process/signal_state.h"
#include "kernel/process/tracee.h"
#include "kernel/process/usage.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "lib/serial.h"
#include "lib/wait_queue.h"

class fd_table;
class fs_context;
class pmap;
class vmspace;
struct process;

enum class thread_state : uint8_t { created, runnable, running, sleeping, dead };

// A call that a signal interrupted and that restart_syscall continues: a part of its thread.
struct interrupted_call {
    enum class restart_kind : uint8_t { none, nanosleep, cpu_sleep, poll, futex };
    restart_kind restart OWNED_BY_THREAD = restart_kind::none;
    nanos_t restart_deadline OWNED_BY_THREAD = 0;
    uint64_t restart_arguments[4] OWNED_BY_THREAD = {};
};

struct thread : ref_counted<thread>, interrupted_call {
    static constexpr auto end_takes = lock_rank::pmap; // its stack is unmapped
    thread();
    ~thread();
    void last_reference_gone();

    pid_t tid GUARD_UNCHECKED(process_tree_lock) = 0; // exec may change its own
    const vm_serial serial;                           // a tid may be given again
    ref_ptr<process> proc CONSTANT_ONCE_SHARED;
    machine_thread machine OWNED_BY_THREAD; // while it does not run, the scheduler's
    char name[16] OWNED_BY_THREAD = {};     // comm: PR_SET_NAME, exec

    // Scheduler's: of who has made it runnable or taken it from a run queue (see
    // kernel/sched/sched.cc).
    std::atomic<thread_state> state{thread_state::created};
    std::atomic<bool> on_cpu{false};                // its stack is in use by a CPU
    std::atomic<unsigned> cpu{0};                   // where it runs or ran last
    std::atomic<uint32_t> allowed_cpus{UINT32_MAX}; // affinity: anybody changes it, at any time
    list_node on_run_queue GUARD_UNCHECKED(run_queue::lock);
    // Itself, from when it was made runnable until it is off its stack for good, wherever it waits.
    ref_ptr<thread> alive GUARD_UNCHECKED("the scheduler's");
    const char* wait_reason OWNED_BY_THREAD = nullptr; // why it sleeps, for ps and panics
    std::atomic<sleep_kind> sleep{
        sleep_kind::uninterruptible}; // what may end it; set before `state`
    // The address space that it runs in: its process's, whose context holds it. Null for kernel
    // threads, and where its memory has gone.
    vmspace* vm OWNED_BY_THREAD = nullptr;
    // The page table to load when it runs: that of `vm`. Null for kernel threads, which run with
    // whatever is loaded.
    pmap* user_map OWNED_BY_THREAD = nullptr;
    std::atomic<nanos_t> cpu_clock{0}; // kernel/process/thread.cc; changed by the scheduler
    mode_times modes OWNED_BY_THREAD;
    uint64_t voluntary_switches OWNED_BY_THREAD = 0, involuntary_switches OWNED_BY_THREAD = 0;
    uint64_t minor_faults OWNED_BY_THREAD = 0, major_faults OWNED_BY_THREAD = 0;
    held_locks sleep_locks OWNED_BY_THREAD;
    // The watchdog's: how often it has found it asleep in one sleep (kernel/sched/watchdog.cc).
    struct {
        uint64_t switches = 0;
        unsigned looks = 0;
    } watched GUARD_UNCHECKED(process_tree_lock);

    // The thread itself looks without the lock at what it alone changes; /proc takes a reference.
    spin_lock lock{lock_rank::process, "thread"};
    early_ref<fd_table> files GUARD_UNCHECKED(lock);
    early_ref<fs_context> fs GUARD_UNCHECKED(lock);
    // CLONE_CHILD_SETTID: user address, stored at the first run.
    uint64_t set_child_tid OWNED_BY_THREAD = 0;
    uint64_t clear_child_tid OWNED_BY_THREAD = 0; // user address: zeroed and futex-woken at exit
    uint64_t robust_list OWNED_BY_THREAD = 0;
    list_node in_process GUARDED_BY(process_tree_lock); // process::threads
    list_node in_tid_table GUARDED_BY(process_tree_lock);

    thread_signals signals;
    ref_ptr<tracee> trace GUARDED_BY(process_tree_lock); // null: nobody traces it
    // Whom it traces.
    list<tracee, &tracee::among_tracees> tracees GUARDED_BY(process_tree_lock);
    // With the command line's `check`: page faults one after the other, resolved each time, of one
    // instruction at one address with the same registers.
    struct {
        uint64_t state = 0;
        unsigned times = 0;
    } same_fault OWNED_BY_THREAD;
    vm_prot fault_access OWNED_BY_THREAD{};  // of its last page fault that had no answer
    std::atomic<int> parent_death_signal{0}; // PR_SET_PDEATHSIG: 0 none
    // PR_SET_TIMERSLACK, and what it was when the thread was made; nothing here is that inexact.
    uint64_t timer_slack OWNED_BY_THREAD = 50'000, default_timer_slack OWNED_BY_THREAD = 50'000;
    linux_stack alt_stack OWNED_BY_THREAD{0, 2 /* SS_DISABLE */, 0, 0};
    // vfork: while this child borrows its parent's vmspace, who waits (see
    // kernel/lifecycle/fork.cc).
    early_ref<struct vfork_wait> vfork_parent OWNED_BY_THREAD;
    std::atomic<pid_t> borrowed_from{0}; // and whose it is, for /proc; 0: nobody's but its own
    early_ref<class vm_aftermath> borrowing OWNED_BY_THREAD; // and what counts its page-ins

    // What it does now is no event (kernel/observe/trace.cc).
    bool in_trace_hook OWNED_BY_THREAD = false;
    class ledger_call* measured OWNED_BY_THREAD = nullptr; // the call whose cost is being counted

    bool kernel_thread CONSTANT_ONCE_SHARED = false;
    void (*kernel_entry CONSTANT_ONCE_SHARED)(void*) = nullptr;
    void* kernel_argument CONSTANT_ONCE_SHARED = nullptr;
};

// Time used by a thread, up to this moment. Any context, without locks.
nanos_t thread_cpu_time(const thread& t);
usage thread_usage(const thread& t); // likewise
// The scheduler's: from `time` on `t` uses processor time, or does no longer.
void thread_clock_start(thread& t, nanos_t time);
void thread_clock_stop(thread& t, nanos_t time);

// Whether a sleep should end: an unblocked signal is pending that is not ignored (or the process is
// stopping or dying). Without locks.
inline bool signal_pending(const thread& self) {
    return self.signals.flags.load() &
           (signal_flag_pending | signal_flag_kill | signal_flag_stop | signal_flag_trap);
}
// The same for signals that kill.
inline bool signal_kill_pending(const thread& self) {
    return self.signals.flags.load() & signal_flag_kill;
}

thread& current_thread();
process& current_process();
// The running thread's; there is one.
inline vmspace& current_vmspace() { return *current_thread().vm; }
// The running thread is in `vm` from now on; null: in the kernel's half alone.
void thread_enter_vmspace(vmspace* vm);

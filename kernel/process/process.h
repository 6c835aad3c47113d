// process: a thread group with an address space; the family tree, groups and sessions.
//
// `process_tree_lock` (rank process_tree) guards the family and what its members are told of each
// other. A process is reference counted: its parent's list of children holds a reference until it
// has been waited for, each of its threads holds one.
#pragma once

#include "kernel/abi/process.h"
#include "kernel/process/cpu_alarm.h"
#include "kernel/process/fork_mode.h"
#include "kernel/process/ledger.h"
#include "kernel/process/posix_timer.h"
#include "kernel/process/process_group.h"
#include "kernel/process/process_report.h"
#include "kernel/process/process_tree.h"
#include "kernel/process/security.h"
#include "kernel/process/signal_state.h"
#include "kernel/process/thread.h"
#include "kernel/process/tracee.h"
#include "kernel/process/usage.h"
#include "kernel/process/user_account.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "lib/no_alloc.h"
#include "lib/ref_list.h"
#include "lib/ref_ptr.h"
#include "lib/serial.h"

class vnode;
enum class vm_limit : uint8_t; // vm/vmspace.h

// Those of a process, on its clocks and on those of its threads.
struct cpu_alarms {
    list<cpu_alarm, &cpu_alarm::of_process> all GUARDED_BY(process_tree_lock);
    std::atomic<bool> any = false; // whether there are: changed under process_tree_lock
    cpu_alarm limit GUARDED_BY(process_tree_lock); // RLIMIT_CPU's
    timer_event event{
        timer_call::deferred}; // for when one may be due; set by the process's own threads only
};

struct process : ref_counted<process>, process_report, group_membership {
    static constexpr auto end_takes = lock_rank::accounts;
    process();
    ~process();
    void last_reference_gone();

    pid_t pid CONSTANT_ONCE_SHARED = 0;
    const vm_serial serial; // a pid may be given again
    // Set at creation. exec may replace it, without other threads; its own need no lock to look.
    ref_ptr<sig_handlers> handlers GUARD_UNCHECKED(process_tree_lock);
    process_signals signals;
    spin_lock lock{lock_rank::process, "process"};
    // Who it is and what memory it has (kernel/process/security.h). Never null; replaced by its own
    // threads.
    ref_ptr<const security_context> context GUARDED_BY(lock);
    // No part of its own: they are asked together with who the process is, in one step.
    linux_rlimit limits[linux_abi::rlimit_count] GUARDED_BY(lock);
    // Its threads, or itself as a zombie, for RLIMIT_NPROC. Of cred.uid; the kernel process has
    // none.
    user_charge tasks GUARDED_BY(lock);
    early_ref<vnode> executable GUARDED_BY(lock);
    // thread::allowed_cpus of its first thread, once that has ended: the pid keeps it.
    uint32_t cpus_of_first GUARDED_BY(lock) = 0;
    own_fork_modes fork_modes; // inherited
    ledger costs;              // of what its threads called
    nanos_t start_time CONSTANT_ONCE_SHARED = 0;
    std::atomic<int> nice{0}; // -20..19: how long a slice is when others wait; inherited
    std::atomic<int16_t> oom_score_adj{0}; // /proc/PID/oom_score_adj; inherited
    std::atomic<uint64_t> call_bytes{0};   // of its threads' call_memory
    // As searches for memory have seen it (kernel/lifecycle/oom.cc).
    struct {
        nanos_t since = 0;
        uint64_t threads = 0; // 0: not yet
    } dying GUARD_UNCHECKED("one search at a time");
    std::atomic<bool> recorded{false}; // kernel/observe/record.h; inherited
    // PR_SET_NO_NEW_PRIVS: exec ignores setuid bits; inherited.
    std::atomic<bool> no_new_privileges{false};
    // An exec under way gives it new rights: nobody begins to trace it. Set under
    // process_tree_lock.
    std::atomic<bool> gains_rights{false};

    // The family. No part of its own: what a list links is a member of what is on it.
    process* parent GUARDED_BY(process_tree_lock) = nullptr;
    std::atomic<pid_t> parent_pid{0}; // parent's, 0 without one: getppid reads it without the lock
    void set_parent(process* p) REQUIRES(process_tree_lock) {
        if (parent)
            parent->zombie_bytes -= left_bytes;
        if (p)
            p->zombie_bytes += left_bytes;
        parent = p;
        parent_pid.store(p ? p->pid : 0, std::memory_order_relaxed);
    }
    // What is left of a zombie, in the kernel; and of those among the children, which its own end
    // would make somebody else wait for. The latter is written under process_tree_lock.
    uint64_t left_bytes GUARDED_BY(process_tree_lock) = 0;
    std::atomic<uint64_t> zombie_bytes{0};
    // Of `parent`, which made it or took it over; may be null.
    thread* parent_thread GUARDED_BY(process_tree_lock) = nullptr;
    list_node among_children GUARDED_BY(process_tree_lock);
    ref_list<process, &process::among_children> children GUARDED_BY(process_tree_lock);
    list_node among_news GUARDED_BY(process_tree_lock);
    // Of `children`, those with something that wait4 might report: ended, stopped, continued. In
    // the order in which it came.
    list<process, &process::among_news> news GUARDED_BY(process_tree_lock);
    ref_list<thread, &thread::in_process> threads GUARDED_BY(process_tree_lock);
    // Of `threads`, those that have not begun to exit. Written under process_tree_lock; where it is
    // 1, only that one could make it more.
    std::atomic<unsigned> live_threads{0};
    // Exec, and the last thread to exit, wait here for the others.
    wait_queue thread_gone GUARDED_BY(process_tree_lock);
    list_node in_table GUARDED_BY(process_tree_lock);
    // Of those that its threads trace: who has something that wait4 might report.
    list<tracee, &tracee::among_news> trace_news GUARDED_BY(process_tree_lock);
    // How its first thread was traced, once that has left.
    ref_ptr<tracee> end_traced GUARDED_BY(process_tree_lock);
    bool subreaper GUARDED_BY(process_tree_lock) = false; // PR_SET_CHILD_SUBREAPER

    usage child_usage GUARDED_BY(process_tree_lock);        // of those that it has waited for
    wait_queue child_changed GUARDED_BY(process_tree_lock); // wait4 sleeps here
    poll_queue end_pollers; // poll on its pidfds: notified when it becomes a zombie

    // Threads whose structures (stack, FPU area) are not given back yet. wait4 waits for zero, so
    // that a process that has been waited for has left nothing behind.
    std::atomic<unsigned> unfreed_threads{0};

    // Made at the first use: kernel/time/itimer.cc.
    struct interval_timers* interval_timers GUARDED_BY(lock) = nullptr;
    struct posix_timers posix_timers;
    struct cpu_alarms cpu_alarms;
};

// What the kernel keeps of one without threads, memory and files; about.
inline constexpr uint64_t process_bytes =
    sizeof(process) + sizeof(sig_handlers) + sizeof(security_context);

extern process* init_process;
// The owner of the kernel's own threads: pid 0, no address space, in no table.
process& kernel_process();

// What its living threads and those that have ended have used.
usage process_usage(process& p) REQUIRES(process_tree_lock);

// Looks a process up by pid; null if there is none. With a reference.
ref_ptr<process> process_find(pid_t pid);
process* process_lookup(pid_t pid) REQUIRES(process_tree_lock); // without
ref_ptr<thread> thread_find(pid_t tid);
thread* thread_lookup(pid_t tid) REQUIRES(process_tree_lock); // without a reference
// Iterates in pid order: the first process with pid >= from, zombies too.
ref_ptr<process> process_next(pid_t from);
// The same without a reference; null at the end.
process* process_look_next(pid_t from) REQUIRES(process_tree_lock);
thread* thread_look_next(pid_t from) REQUIRES(process_tree_lock);
// An empty process with default limits, nowhere published. Null when out of memory.
process* process_allocate();
unsigned process_count();

// Something has happened to `p` that its parent may wait for: the last of its parent's news.
void process_has_news(process& p) REQUIRES(process_tree_lock);
// p.state, of which its group counts the stopped.
void process_set_state(process& p, process_state state) REQUIRES(process_tree_lock);
// Looks again whether `p` ties its group, because it or its parent has changed. True if the group
// has lost its last tie by that and has stopped members, which are to be told: SIGHUP, SIGCONT.
bool group_retie(process& p) REQUIRES(process_tree_lock);
pid_t current_group() EXCLUDES(process_tree_lock); // the number of the running process's

// Goes through the children of a process, or those with news, and lets go of the lock after some:
// then the child that it is at may have left, and it begins again.
class child_scan {
public:
    enum which : uint8_t { all, with_news };
    child_scan(process& parent, which some) : parent_(parent), which_(some) {}
    // The next one, null at the end; the first one too, if that was reached before. Nothing has
    // come to the end of the list since: `tree`, the guard of process_tree_lock, is held on.
    process* next(lock_guard<spin_lock>& tree) REQUIRES(process_tree_lock);

private:
    process& parent_;
    const which which_;
    process* at_ = nullptr;
    unsigned steps_ = 0;
};

// A thread of `owner` with a kernel stack, not published and not runnable yet. ENOMEM.
expected<ref_ptr<thread>> thread_create(process& owner);
// Puts a complete process with its first thread, or a further thread, where others find them.
// `maker` is the process that has called fork.
void process_publish(ref_ptr<process> p, ref_ptr<thread> first, process& parent, process& maker)
    REQUIRES(process_tree_lock);
void thread_publish(ref_ptr<thread> t) REQUIRES(process_tree_lock);
// Takes a thread that ends out of its process and the table. What is returned is let go of without
// the lock.
[[nodiscard]] ref_ptr<thread> thread_unpublish(thread& t) REQUIRES(process_tree_lock);
// exec from a thread that was not the first: it takes over the process's pid as its tid.
void thread_take_over_pid(thread& t) REQUIRES(process_tree_lock);
// Takes a zombie that has been waited for out of the tree and the table; returns the reference that
// its parent had.
[[nodiscard]] ref_ptr<process> process_unpublish(process& p) REQUIRES(process_tree_lock);

// PR_SET_CHILD_SUBREAPER.
void process_set_subreaper(process& p, bool on) REQUIRES(process_tree_lock);
unsigned process_subreapers() REQUIRES(process_tree_lock); // how many there are

// The context of `p`. Its last reference may be the caller's to drop, and with it the address
// space: no spin lock may be held then. Under one, what is asked is read under p.lock (below).
ref_ptr<const security_context> process_context(process& p);
ref_ptr<const security_context> current_context();
// For its own threads: publishes `next`; returns what was there.
[[nodiscard]] ref_ptr<const security_context>
process_exchange_context(process& p, ref_ptr<const security_context> next);
// The same, unless another thread has changed it since it was `seen`.
[[nodiscard]] bool process_replace_context(process& p, const ref_ptr<const security_context>& seen,
                                           ref_ptr<const security_context> next);

// The vmspace of a process with a reference, or null (kernel process, zombie).
ref_ptr<vmspace> process_vmspace(process& p);
credentials process_credentials(process& p); // a copy; under spin locks below `process` too
credentials current_credentials();           // a copy
uint32_t process_uid(process& p);            // the real user; likewise
uint64_t process_program(process& p);        // security_context::program; likewise

// May the caller look into `p`, which has or had this context? Its own
// threads may; others as credentials_may_access says.
bool may_access(process& p, const security_context& its, access_mode mode);

// Called with a status as wait4 encodes it. Ends the whole process: all its threads leave.
[[noreturn]] NO_ALLOC void process_exit_group(int wait_status);
// Ends the running thread; the last one takes the process with it.
[[noreturn]] NO_ALLOC void thread_exit(int wait_status);
// The soft limit of the running process: process_limit(linux_abi::rlimit_nofile).
inline uint64_t process_limit(unsigned resource) {
    process& self = current_process();
    lock_guard guard(self.lock);
    return self.limits[resource].current;
}
// The same for vm/; RLIMIT_MEMLOCK does not bind the superuser.
uint64_t process_vm_limit(vm_limit which);
ref_ptr<vm_aftermath> process_vm_borrowing(const vmspace& borrowed);

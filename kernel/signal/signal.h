// Signals: what is pending, what is blocked, what happens. Linux's numbers, structures and rules.
//
// Actions belong to sig_handlers (shared by CLONE_SIGHAND); a pending signal belongs to a thread or
// to a process. sig_handlers::lock_ guards all of it for all threads that share the handlers.
#pragma once

#include "kernel/files/poll.h"
#include "kernel/process/user_account.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"
#include "lib/types.h"
#include "lib/wait_queue.h"

#include <cstdint>

struct thread;
struct process;
struct trap_frame;
using pid_t = int32_t;

using sigset = uint64_t; // bit signo-1
inline constexpr int signal_max = 64;
constexpr sigset sig_bit(int signo) { return sigset{1} << (signo - 1); }

enum : int {
    SIGHUP_ = 1,
    SIGINT_,
    SIGQUIT_,
    SIGILL_,
    SIGTRAP_,
    SIGABRT_,
    SIGBUS_,
    SIGFPE_,
    SIGKILL_,
    SIGUSR1_,
    SIGSEGV_,
    SIGUSR2_,
    SIGPIPE_,
    SIGALRM_,
    SIGTERM_,
    SIGSTKFLT_,
    SIGCHLD_,
    SIGCONT_,
    SIGSTOP_,
    SIGTSTP_,
    SIGTTIN_,
    SIGTTOU_,
    SIGURG_,
    SIGXCPU_,
    SIGXFSZ_,
    SIGVTALRM_,
    SIGPROF_,
    SIGWINCH_,
    SIGIO_,
    SIGPWR_,
    SIGSYS_,
};
enum : int32_t { // si_code
    SI_USER_ = 0,
    SI_KERNEL_ = 0x80,
    SI_QUEUE_ = -1,
    SI_TIMER_ = -2,
    SI_TKILL_ = -6,
    SEGV_MAPERR_ = 1,
    SEGV_ACCERR_ = 2,
    BUS_ADRALN_ = 1,
    BUS_ADRERR_ = 2,
    FPE_INTDIV_ = 1,
    FPE_FLTINV_ = 7,
    ILL_ILLOPN_ = 2,
    TRAP_BRKPT_ = 1,
    TRAP_TRACE_ = 2,
    CLD_EXITED_ = 1,
    CLD_KILLED_,
    CLD_DUMPED_,
    CLD_TRAPPED_,
    CLD_STOPPED_,
    CLD_CONTINUED_,
};

// Linux's siginfo_t, x86-64: 128 bytes.
struct linux_siginfo {
    int32_t signo, error, code, pad;
    union {
        struct {
            pid_t pid;
            uint32_t uid;
            int32_t status;
            int32_t pad2;
            int64_t utime, stime;
        } child; // also kill: pid, uid
        struct {
            pid_t pid;
            uint32_t uid;
            uint64_t value;
        } queue;
        struct {
            int32_t timer_id, overrun;
            uint64_t value;
        } timer;
        struct {
            uint64_t address;
        } fault;
        uint8_t bytes[112];
    };
};
static_assert(sizeof(linux_siginfo) == 128);

// Linux's kernel sigaction.
struct linux_sigaction {
    uint64_t handler; // 0 SIG_DFL, 1 SIG_IGN
    uint64_t flags;
    uint64_t restorer;
    sigset mask;
};
struct linux_stack {
    uint64_t sp;
    int32_t flags;
    uint32_t pad;
    uint64_t size;
};

struct posix_timer;

struct pending_signal {
    list_node on_queue;
    linux_siginfo info;
    posix_timer* timer = nullptr; // whose own entry this is; null: it is of signal.cc's pool
    user_charge charge;           // to the user who has it pending: RLIMIT_SIGPENDING
};

// Signals that are pending for one thread or for a whole process.
struct signal_queue {
    sigset set = 0;
    list<pending_signal, &pending_signal::on_queue>
        queued; // infos, oldest first; a set bit without one means SI_USER
    ~signal_queue();
};

class sig_handlers : public ref_counted<sig_handlers> {
public:
    static constexpr auto end_takes = lock_rank::pool;
    static expected<ref_ptr<sig_handlers>> create(); // all default. ENOMEM
    expected<ref_ptr<sig_handlers>> copy();          // fork
    void reset_for_exec();                           // caught ones to default, ignored stay
    void last_reference_gone();

    spin_lock lock_{lock_rank::signal, "sig_handlers"};
    linux_sigaction actions[signal_max] GUARDED_BY(lock_){}; // of signal n at [n - 1]
    // signalfd: told of every signal that is made pending.
    wait_queue signal_readers; // guard: lock_
    poll_queue signal_pollers;
};

// Bits of thread::signal_flags: read without a lock by sleepers, written under the handlers' lock.
enum : uint32_t {
    signal_flag_pending = 1, // an unblocked signal can be taken
    signal_flag_kill = 2,    // ... and it kills, or the process is exiting
    signal_flag_stop = 4,    // the process is stopping: the thread is to park
    signal_flag_gone = 8,    // thread_exit has begun: no signal is sent to it any more
    signal_flag_clock = 16,  // cpu_alarms_check() is to be called: no reason to end a sleep
};

// Sends, from any context. `info` may be null (SI_KERNEL). Ignored signals are discarded, SIGCONT
// and stops cancel each other, sleepers are woken. Never fails for want of memory (the info is lost
// then, as on Linux). The caller may hold process_tree_lock and nothing of a higher rank; a zombie
// target is left alone.
void signal_send_process(process& target, int signo, const linux_siginfo* info);
void signal_send_thread(thread& target, int signo, const linux_siginfo* info);
void signal_send_group(pid_t group, int signo,
                       const linux_siginfo* info); // a process group, from the kernel (tty)
// A signal that the running thread caused (a fault): delivered even if blocked or ignored (then it
// kills).
void signal_force(thread& self, int signo, int32_t code, uint64_t address);

// The same for rt_sigqueueinfo and timers: EAGAIN when the queue is full (RLIMIT_SIGPENDING, or no
// memory) and the info would be lost. `to_thread` may be null: the process. Caller holds
// process_tree_lock.
status signal_queue_info(process& target, thread* to_thread, int signo, const linux_siginfo& info);

// A timer's signal, whose entry is the timer's own: to a thread, or to the process if `to_thread`
// is null. Nothing if that has ended. The caller may hold process_tree_lock; any context.
void signal_send_entry(process& target, thread* to_thread, pending_signal& entry);
// Takes it back, if it is pending.
void signal_drop_entry(process& target, thread* to_thread, pending_signal& entry);

// Begins the end of a process: every thread but `survivor` (null for exit_group; the caller for
// exec) leaves through thread_exit(p.group_exit_status) at its next return to user mode, sleepers
// are woken. False when somebody else has begun already, and then nothing has changed. No locks
// held.
bool signal_begin_exit(process& p, thread* survivor, int wait_status);
// exec, once the other threads have gone: the process goes on living.
void signal_end_exec(process& p);
// thread_exit calls this for the running thread, before it leaves process::threads, without locks:
// a group stop does not wait for it any more, and signals that it alone was woken for find another
// thread.
void signal_thread_exiting(thread& self);

// What a parent's SIGCHLD action says to exit.cc and wait.cc. Any lock of a lower rank may be held.
bool signal_parent_discards_children(process& parent); // SIG_IGN or SA_NOCLDWAIT: no zombies
bool signal_parent_ignores_stops(process& parent);     // SIG_IGN or SA_NOCLDSTOP
// Whether `signo` would have no effect on `self`: blocked, held or ignored (for SIGTTIN and
// SIGTTOU).
bool signal_blocked_or_ignored(thread& self, int signo);

// Whether a sleep should end: an unblocked signal is pending that is not ignored (or the process is
// stopping or dying).
bool signal_pending(thread& self);
// The same for signals that kill.
bool signal_kill_pending(thread& self);
// Whether signal_deliver has something to do before the return to user mode through `frame`.
// Without locks.
bool signal_work(thread& self, const trap_frame& frame);
// Whether the frame's system call has ended with a restart code, which no program is to see.
bool call_interrupted(const trap_frame& frame);
// Called before every return to user mode while signal_work() says so: takes the next signal,
// stops, kills (does not return) or builds the handler's frame and redirects `frame`; handles
// restarts of interrupted calls.
void signal_deliver(thread& self, trap_frame& frame);
// Recomputes thread.machine.work_pending after a mask change.
void signal_recompute(thread& self);
// A vfork child has let go of the address space: it takes the stop signals that were held back.
void signal_release_held(thread& self);
// Sets the mask of the running thread (never blocks SIGKILL, SIGSTOP).
void signal_set_mask(thread& self, sigset mask);
// For sigsuspend, ppoll, pselect: mask until the return to user mode, when the old one comes back
// (after the handler's frame remembers it).
void signal_set_temporary_mask(thread& self, sigset mask);

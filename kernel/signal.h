// Signals: what is pending, what is blocked, what happens. Linux's numbers, structures and rules.
//
// Actions belong to sig_handlers (shared by CLONE_SIGHAND); a pending signal belongs to a thread or to a process.
// sig_handlers::lock_ guards all of it for all threads that share the handlers.
#pragma once

#include "lib/list.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"
#include "lib/types.h"

#include <cstdint>

struct thread;
struct process;
struct trap_frame;
using pid_t = int32_t;

using sigset = uint64_t; // bit signo-1
inline constexpr int signal_max = 64;
constexpr sigset sig_bit(int signo) { return sigset{1} << (signo - 1); }

enum : int {
    SIGHUP_ = 1, SIGINT_, SIGQUIT_, SIGILL_, SIGTRAP_, SIGABRT_, SIGBUS_, SIGFPE_, SIGKILL_, SIGUSR1_, SIGSEGV_, SIGUSR2_,
    SIGPIPE_, SIGALRM_, SIGTERM_, SIGSTKFLT_, SIGCHLD_, SIGCONT_, SIGSTOP_, SIGTSTP_, SIGTTIN_, SIGTTOU_, SIGURG_,
    SIGXCPU_, SIGXFSZ_, SIGVTALRM_, SIGPROF_, SIGWINCH_, SIGIO_, SIGPWR_, SIGSYS_,
};
enum : int32_t { // si_code
    SI_USER_ = 0, SI_KERNEL_ = 0x80, SI_QUEUE_ = -1, SI_TIMER_ = -2, SI_TKILL_ = -6,
    SEGV_MAPERR_ = 1, SEGV_ACCERR_ = 2, BUS_ADRALN_ = 1, BUS_ADRERR_ = 2, FPE_INTDIV_ = 1, FPE_FLTINV_ = 7, ILL_ILLOPN_ = 2,
    TRAP_BRKPT_ = 1, TRAP_TRACE_ = 2,
    CLD_EXITED_ = 1, CLD_KILLED_, CLD_DUMPED_, CLD_TRAPPED_, CLD_STOPPED_, CLD_CONTINUED_,
};

// Linux's siginfo_t, x86-64: 128 bytes.
struct linux_siginfo {
    int32_t signo, error, code, pad;
    union {
        struct { pid_t pid; uint32_t uid; int32_t status; int32_t pad2; int64_t utime, stime; } child; // also kill: pid, uid
        struct { pid_t pid; uint32_t uid; uint64_t value; } queue;
        struct { int32_t timer_id, overrun; uint64_t value; } timer;
        struct { uint64_t address; } fault;
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

struct pending_signal {
    list_node on_queue;
    linux_siginfo info;
};

// Signals that are pending for one thread or for a whole process.
struct signal_queue {
    sigset set = 0;
    list<pending_signal, &pending_signal::on_queue> queued; // infos, oldest first; a set bit without one means SI_USER
    ~signal_queue();
};

class sig_handlers : public ref_counted<sig_handlers> {
public:
    static expected<ref_ptr<sig_handlers>> create();   // all default. ENOMEM
    expected<ref_ptr<sig_handlers>> copy();            // fork
    void reset_for_exec();                             // caught ones to default, ignored stay
    void last_reference_gone();

    spin_lock lock_{lock_rank::signal, "sig_handlers"};
    linux_sigaction actions[signal_max] GUARDED_BY(lock_){};
};

// Sends. `info` may be null (SI_USER of the current process when `from_user`, else SI_KERNEL). Ignored signals are discarded, SIGCONT and stops
// cancel each other, sleepers are woken. Never fails for want of memory (the info is lost then, as on Linux).
void signal_send_process(process& target, int signo, const linux_siginfo* info);
void signal_send_thread(thread& target, int signo, const linux_siginfo* info);
void signal_send_group(pid_t group, int signo, const linux_siginfo* info); // a process group, from the kernel (tty)
// A signal that the running thread caused (a fault): delivered even if blocked or ignored (then it kills).
void signal_force(thread& self, int signo, int32_t code, uint64_t address);

// Whether a sleep should end: an unblocked signal is pending that is not ignored (or the process is stopping or dying).
bool signal_pending(thread& self);
// The same for signals that kill.
bool signal_kill_pending(thread& self);
// Called before every return to user mode while signal_work(thread) says so: takes the next signal, stops, kills
// (does not return) or builds the handler's frame and redirects `frame`; handles restarts of interrupted calls.
void signal_deliver(thread& self, trap_frame& frame);
// Recomputes thread.machine.work_pending after a mask change.
void signal_recompute(thread& self);
// Sets the mask of the running thread (never blocks SIGKILL, SIGSTOP).
void signal_set_mask(thread& self, sigset mask);
// For sigsuspend, ppoll, pselect: mask until the return to user mode, when the old one comes back (after the handler's frame
// remembers it).
void signal_set_temporary_mask(thread& self, sigset mask);

// Signals as programs see them: Linux's numbers and structures for x86-64.
#pragma once

#include "lib/types.h"

#include <cstdint>

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
// Of those up to SIGSYS, by number.
inline constexpr const char* signal_names[] = {
    "0",         "SIGHUP",  "SIGINT",    "SIGQUIT", "SIGILL",   "SIGTRAP", "SIGABRT", "SIGBUS",
    "SIGFPE",    "SIGKILL", "SIGUSR1",   "SIGSEGV", "SIGUSR2",  "SIGPIPE", "SIGALRM", "SIGTERM",
    "SIGSTKFLT", "SIGCHLD", "SIGCONT",   "SIGSTOP", "SIGTSTP",  "SIGTTIN", "SIGTTOU", "SIGURG",
    "SIGXCPU",   "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO",   "SIGPWR",  "SIGSYS",
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

inline constexpr uint64_t SIG_DFL_ = 0, SIG_IGN_ = 1;
enum : uint64_t {
    SA_NOCLDSTOP_ = 1,
    SA_NOCLDWAIT_ = 2,
    SA_SIGINFO_ = 4,
    SA_RESTORER_ = 0x04000000,
    SA_ONSTACK_ = 0x08000000,
    SA_RESTART_ = 0x10000000,
    SA_NODEFER_ = 0x40000000,
    SA_RESETHAND_ = 0x80000000,
};
enum : int32_t { SS_ONSTACK_ = 1, SS_DISABLE_ = 2, SS_AUTODISARM_ = int32_t(1u << 31) };

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

// Linux's struct sigevent, x86-64.
struct linux_sigevent {
    uint64_t value;
    int32_t signo, notify;
    int32_t tid; // SIGEV_THREAD_ID
    int32_t pad[11];
};
static_assert(sizeof(linux_sigevent) == 64);

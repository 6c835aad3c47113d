// Signals as programs see them: Linux's numbers and structures for x86-64.
#pragma once

#include "lib/types.h"

#include <cstdint>

using sigset = uint64_t; // bit signo-1
inline constexpr int signal_max = 64;
constexpr sigset sig_bit(int signo) { return sigset{1} << (signo - 1); }

namespace linux_abi {

enum : int {
    sighup = 1,
    sigint,
    sigquit,
    sigill,
    sigtrap,
    sigabrt,
    sigbus,
    sigfpe,
    sigkill,
    sigusr1,
    sigsegv,
    sigusr2,
    sigpipe,
    sigalrm,
    sigterm,
    sigstkflt,
    sigchld,
    sigcont,
    sigstop,
    sigtstp,
    sigttin,
    sigttou,
    sigurg,
    sigxcpu,
    sigxfsz,
    sigvtalrm,
    sigprof,
    sigwinch,
    sigio,
    sigpwr,
    sigsys,
};
enum : int32_t { // si_code
    si_user = 0,
    si_kernel = 0x80,
    si_queue = -1,
    si_timer = -2,
    si_tkill = -6,
    segv_maperr = 1,
    segv_accerr = 2,
    bus_adraln = 1,
    bus_adrerr = 2,
    fpe_intdiv = 1,
    fpe_fltinv = 7,
    ill_illopn = 2,
    trap_brkpt = 1,
    trap_trace = 2,
    cld_exited = 1,
    cld_killed,
    cld_dumped,
    cld_trapped,
    cld_stopped,
    cld_continued,
};

inline constexpr uint64_t sig_dfl = 0, sig_ign = 1;
enum : uint64_t {
    sa_nocldstop = 1,
    sa_nocldwait = 2,
    sa_siginfo = 4,
    sa_restorer = 0x04000000,
    sa_onstack = 0x08000000,
    sa_restart = 0x10000000,
    sa_nodefer = 0x40000000,
    sa_resethand = 0x80000000,
};
enum : int32_t { ss_onstack = 1, ss_disable = 2, ss_autodisarm = int32_t(1u << 31) };
// SIGEV_THREAD is the C library's: to the kernel it is SIGEV_SIGNAL.
enum : int32_t { sigev_signal = 0, sigev_none = 1, sigev_thread = 2, sigev_thread_id = 4 };

} // namespace linux_abi

// Of those up to SIGSYS, by number.
inline constexpr const char* signal_names[] = {
    "0",         "SIGHUP",  "SIGINT",    "SIGQUIT", "SIGILL",   "SIGTRAP", "SIGABRT", "SIGBUS",
    "SIGFPE",    "SIGKILL", "SIGUSR1",   "SIGSEGV", "SIGUSR2",  "SIGPIPE", "SIGALRM", "SIGTERM",
    "SIGSTKFLT", "SIGCHLD", "SIGCONT",   "SIGSTOP", "SIGTSTP",  "SIGTTIN", "SIGTTOU", "SIGURG",
    "SIGXCPU",   "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO",   "SIGPWR",  "SIGSYS",
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

// Linux's struct sigevent, x86-64.
struct linux_sigevent {
    uint64_t value;
    int32_t signo, notify;
    int32_t tid; // SIGEV_THREAD_ID
    int32_t pad[11];
};
static_assert(sizeof(linux_sigevent) == 64);

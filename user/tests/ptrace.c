// ptrace: a tracer stops another thread, looks at its registers and memory, changes them, and lets it
// go on.
#include "../lib/overcommit.h"
#include "../lib/proc.h"
#include "../lib/spork.h"

#include <elf.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

enum { PAGE = 4096, LINUX_EVENT_STOP = 128 };

static long trace(int request, pid_t pid, long address, long data) {
    return syscall(SYS_ptrace, (long)request, (long)pid, address, data);
}

static struct user_regs_struct registers(pid_t pid) {
    struct user_regs_struct r;
    need(trace(PTRACE_GETREGS, pid, 0, (long)&r) == 0);
    return r;
}

static void set_registers(pid_t pid, const struct user_regs_struct* r) {
    need(trace(PTRACE_SETREGS, pid, 0, (long)r) == 0);
}

static long peek(pid_t pid, const volatile void* at) {
    long word;
    need(trace(PTRACE_PEEKDATA, pid, (long)at, (long)&word) == 0);
    return word;
}

// What waiting for `pid` tells of its next stop: signal | event << 8; -1 for anything else.
static int next_stop(pid_t pid) {
    int status;
    if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
        return -1;
    return status >> 8;
}

static int go(int request, pid_t pid, int signo) {
    need(trace(request, pid, 0, signo) == 0);
    return next_stop(pid);
}

static int status_after(int request, pid_t pid, int signo) {
    need(trace(request, pid, 0, signo) == 0);
    return reap(pid);
}

static long status_number(pid_t pid, const char* field) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    need(fd >= 0);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    need(n > 0);
    text[n] = 0;
    const char* at = strstr(text, field);
    need(at != NULL);
    return strtol(at + strlen(field), NULL, 10);
}

// A child that is traced by us and has stopped with SIGSTOP, about to run body.
static pid_t traced(void (*body)(void)) {
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        if (trace(PTRACE_TRACEME, 0, 0, 0) != 0)
            _exit(99);
        kill(getpid(), SIGSTOP);
        body();
        _exit(0);
    }
    need(next_stop(child) == SIGSTOP);
    return child;
}

static void nothing(void) {}
static void sleeps(void) {
    for (;;)
        pause();
}

// A child that is not traced and sleeps.
static pid_t sleeper(void) {
    pid_t child = fork();
    need(child >= 0);
    if (child == 0)
        sleeps();
    return child;
}

static void end(pid_t child) {
    kill(child, SIGKILL);
    is_killed(reap(child), SIGKILL, "it is killed");
}

// ---- Memory and registers

static volatile long word = 17;
static int seven(void) { return 7; }
static void exits_with_word(void) { _exit((int)word); }
static void exits_with_seven(void) {
    int (*volatile f)(void) = seven;
    _exit(f());
}

static void memory(void) {
    pid_t child = traced(exits_with_word);
    is(proc_state(child), 't', "state in /proc");
    is(status_number(child, "TracerPid:"), getpid(), "TracerPid");
    is(peek(child, &word), 17, "a word");
    need(trace(PTRACE_POKEDATA, child, (long)&word, 23) == 0);
    is(word, 17, "ours is another");
    is(peek(child, &word), 23, "the child's has changed");
    long got;
    is_errno(trace(PTRACE_PEEKDATA, child, 8, (long)&got), EIO, "nothing is mapped there");
    is_errno(trace(PTRACE_POKEDATA, child, 8, 1), EIO, "nor to be written");
    is_errno(trace(PTRACE_PEEKDATA, child, (long)&word, 8), EFAULT, "a bad place for it");
    is_exit(status_after(PTRACE_CONT, child, 0), 23, "the child finds it");
}

// mov $9, %eax; ret
static const unsigned char nine_code[8] = {0xb8, 9, 0, 0, 0, 0xc3, 0x90, 0x90};

static void text(void) {
    pid_t child = traced(exits_with_seven);
    long code;
    memcpy(&code, nine_code, sizeof code);
    const long before = meminfo_kb("Committed_AS:");
    need(trace(PTRACE_POKETEXT, child, (long)seven, code) == 0);
    if (on_spork())
        is(meminfo_kb("Committed_AS:") - before, 4, "the page is paid for");
    else
        ok(1, "Linux promises it for nothing");
    is(seven(), 7, "our text is as it was");
    is_exit(status_after(PTRACE_CONT, child, 0), 9, "the child runs another");
}

static char* shared_page;
static void not_to_be_written(void) {
    shared_page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(shared_page != MAP_FAILED);
    char* hidden = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(hidden != MAP_FAILED);
    hidden[0] = 'h';
    need(mprotect(hidden, PAGE, PROT_NONE) == 0);
    pid_t child = traced(nothing);
    is_errno(trace(PTRACE_POKEDATA, child, (long)shared_page, 1), EIO, "shared and read-only");
    is(peek(child, shared_page), 0, "it can be read");
    is((char)peek(child, hidden), 'h', "what the child itself cannot read");
    need(trace(PTRACE_POKEDATA, child, (long)hidden, 'i') == 0);
    is((char)peek(child, hidden), 'i', "nor write");
    is_exit(status_after(PTRACE_CONT, child, 0), 0, "and goes on");
}

static void registers_of_a_stop(void) {
    pid_t child = traced(exits_with_word);
    struct user_regs_struct r = registers(child);
    long rip, rsp, cs;
    need(trace(PTRACE_PEEKUSER, child, offsetof(struct user, regs.rip), (long)&rip) == 0);
    need(trace(PTRACE_PEEKUSER, child, offsetof(struct user, regs.rsp), (long)&rsp) == 0);
    need(trace(PTRACE_PEEKUSER, child, offsetof(struct user, regs.cs), (long)&cs) == 0);
    ok((unsigned long)rip == r.rip && (unsigned long)rsp == r.rsp && (unsigned long)cs == r.cs,
       "one by one");
    is(r.orig_rax, SYS_kill, "the call it stopped behind");
    is(r.rax, 0, "and its result");
    is_errno(trace(PTRACE_PEEKUSER, child, 3, (long)&rip), EIO, "not aligned");
    is_errno(trace(PTRACE_PEEKUSER, child, PAGE, (long)&rip), EIO, "beyond");
    is_errno(trace(PTRACE_POKEUSER, child, offsetof(struct user, regs.cs), 0x10), EIO,
             "the kernel's code segment");
    is_errno(trace(PTRACE_POKEUSER, child, offsetof(struct user, regs.fs_base), -4096), EIO,
             "a base in the kernel");
    need(trace(PTRACE_POKEUSER, child, offsetof(struct user, regs.r12), 0x1234) == 0);
    is(registers(child).r12, 0x1234, "one changed");
    // Flags that are none of a program's stay: it would get at devices.
    need(trace(PTRACE_POKEUSER, child, offsetof(struct user, regs.eflags), r.eflags | 0x3000) == 0);
    is(registers(child).eflags & 0x3000, 0, "IOPL");
    need(trace(PTRACE_POKEUSER, child, offsetof(struct user, regs.eflags), r.eflags & ~0x200ul) ==
         0);
    ok(registers(child).eflags & 0x200, "IF");
    set_registers(child, &r);
    // r11 and rcx are what SYSRET takes flags and address from.
    r.r11 = 0x3000;
    r.rcx = 0xdead;
    r.rip = (unsigned long)exits_with_word;
    r.rsp = (r.rsp - 256) / 16 * 16 - 8;
    set_registers(child, &r);
    need(trace(PTRACE_POKEDATA, child, (long)&word, 5) == 0);
    is_exit(status_after(PTRACE_CONT, child, 0), 5, "it goes on elsewhere");
    child = traced(nothing);
    r = registers(child);
    r.rip = 0x8000000000000000ul;
    set_registers(child, &r);
    is(go(PTRACE_CONT, child, 0), SIGSEGV, "at an address that is none");
    is_killed(status_after(PTRACE_CONT, child, SIGSEGV), SIGSEGV, "dies of it");
}

static void adds(void) {
    static double one = 1.5;
    double two;
    asm volatile("movsd %1, %%xmm7\n\t"
                 "mov %2, %%eax\n\t"
                 "mov %3, %%edi\n\t"
                 "mov %4, %%esi\n\t"
                 "syscall\n\t"
                 "movsd %%xmm7, %0"
                 : "=m"(two)
                 : "m"(one), "i"(SYS_kill), "r"(getpid()), "i"(SIGSTOP)
                 : "rax", "rcx", "r11", "rdi", "rsi", "xmm7", "memory");
    _exit((int)(two * 2));
}

static void floating_point(void) {
    pid_t child = traced(adds);
    is(go(PTRACE_CONT, child, 0), SIGSTOP, "in the middle");
    struct user_fpregs_struct f;
    need(trace(PTRACE_GETFPREGS, child, 0, (long)&f) == 0);
    double value;
    memcpy(&value, (char*)f.xmm_space + 7 * 16, sizeof value);
    ok(value == 1.5, "what is in a register");
    f.mxcsr = ~0u;
    is_errno(trace(PTRACE_SETFPREGS, child, 0, (long)&f), EINVAL, "a bit that there is not");
    need(trace(PTRACE_GETFPREGS, child, 0, (long)&f) == 0);
    value = 4.5;
    memcpy((char*)f.xmm_space + 7 * 16, &value, sizeof value);
    need(trace(PTRACE_SETFPREGS, child, 0, (long)&f) == 0);
    char area[8192];
    struct iovec iov = {area, sizeof area};
    need(trace(PTRACE_GETREGSET, child, NT_X86_XSTATE, (long)&iov) == 0);
    ok(iov.iov_len >= 576 && iov.iov_len < sizeof area, "XSAVE's area, %zu bytes", iov.iov_len);
    memcpy(&value, area + 160 + 7 * 16, sizeof value);
    ok(value == 4.5, "has it too");
    uint64_t xcr0;
    memcpy(&xcr0, area + 464, sizeof xcr0);
    is(xcr0 & 3, 3, "and says what it holds");
    value = 6.5;
    memcpy(area + 160 + 7 * 16, &value, sizeof value);
    area[512 + 16] = 1;
    is_errno(trace(PTRACE_SETREGSET, child, NT_X86_XSTATE, (long)&iov), EINVAL,
             "a header that the processor would refuse");
    area[512 + 16] = 0;
    area[512] = 3;
    need(trace(PTRACE_SETREGSET, child, NT_X86_XSTATE, (long)&iov) == 0);
    is_errno(trace(PTRACE_GETREGSET, child, 0x999, (long)&iov), EINVAL, "a set that there is not");
    struct user_regs_struct r;
    iov = (struct iovec){&r, sizeof r + 8};
    need(trace(PTRACE_GETREGSET, child, NT_PRSTATUS, (long)&iov) == 0);
    ok(iov.iov_len == sizeof r && r.rip == registers(child).rip, "the general ones");
    is_exit(status_after(PTRACE_CONT, child, 0), 13, "the child computes with it");
}

// ---- System calls

static void calls_getppid(void) {
    word = syscall(SYS_getppid, 1, 2, 3, 4, 5, 6);
    _exit(word == 1000 ? 1 : word == -1 && errno == ENOSYS ? 2 : word == getpid() ? 3 : 4);
}

struct syscall_info {
    uint8_t op, pad[3];
    uint32_t arch;
    uint64_t ip, sp;
    union {
        struct {
            uint64_t nr, args[6];
        } entry;
        struct {
            int64_t rval;
            uint8_t is_error;
        } exit;
    };
};

static pid_t at_getppid(void) {
    pid_t child = traced(calls_getppid);
    need(trace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD) == 0);
    for (;;) {
        need(go(PTRACE_SYSCALL, child, 0) == (SIGTRAP | 0x80));
        if (registers(child).orig_rax == SYS_getppid)
            return child;
        need(go(PTRACE_SYSCALL, child, 0) == (SIGTRAP | 0x80));
    }
}

static void system_calls(void) {
    pid_t child = at_getppid();
    struct user_regs_struct r = registers(child);
    is((long)r.rax, -ENOSYS, "rax on the way in");
    is(r.rdi, 1, "an argument");
    struct syscall_info info;
    is(trace(0x420e, child, sizeof info, (long)&info), 80, "PTRACE_GET_SYSCALL_INFO");
    ok(info.op == 1 && info.arch == 0xc000003e && info.ip == r.rip && info.sp == r.rsp,
       "entry: where");
    ok(info.entry.nr == SYS_getppid && info.entry.args[5] == 6, "and what");
    siginfo_t si;
    need(trace(PTRACE_GETSIGINFO, child, 0, (long)&si) == 0);
    ok(si.si_signo == SIGTRAP && si.si_code == (SIGTRAP | 0x80), "its siginfo");
    is(go(PTRACE_SYSCALL, child, 0), SIGTRAP | 0x80, "on the way out");
    r = registers(child);
    is(r.rax, getpid(), "the result");
    is(trace(0x420e, child, sizeof info, (long)&info), 33, "PTRACE_GET_SYSCALL_INFO");
    ok(info.op == 2 && info.exit.rval == getpid() && !info.exit.is_error, "exit: with what");
    r.rax = 1000;
    set_registers(child, &r);
    is_exit(status_after(PTRACE_CONT, child, 0), 1, "the tracer's result");

    child = at_getppid();
    need(trace(PTRACE_POKEUSER, child, offsetof(struct user, regs.orig_rax), -1) == 0);
    is(go(PTRACE_SYSCALL, child, 0), SIGTRAP | 0x80, "a call that is taken away ends, too");
    is_exit(status_after(PTRACE_CONT, child, 0), 2, "with ENOSYS");

    child = at_getppid();
    need(trace(PTRACE_POKEUSER, child, offsetof(struct user, regs.orig_rax), SYS_getpid) == 0);
    is_exit(status_after(PTRACE_CONT, child, 0), 3, "another call in its place");
}

// ---- Signals

static volatile sig_atomic_t handled;
static void count(int signo) { handled = handled * 10 + (signo == SIGUSR1 ? 1 : 2); }
static void gets_signals(void) {
    signal(SIGUSR1, count);
    signal(SIGUSR2, count);
    signal(SIGWINCH, SIG_IGN);
    raise(SIGUSR1);
    raise(SIGUSR1);
    raise(SIGUSR1);
    raise(SIGWINCH);
    _exit(handled);
}

static void signals(void) {
    pid_t child = traced(gets_signals);
    is(go(PTRACE_CONT, child, 0), SIGUSR1, "stops before a signal");
    siginfo_t si;
    need(trace(PTRACE_GETSIGINFO, child, 0, (long)&si) == 0);
    ok(si.si_signo == SIGUSR1 && si.si_pid == child, "which is told");
    is(go(PTRACE_CONT, child, SIGUSR1), SIGUSR1, "delivered; the next");
    is(go(PTRACE_CONT, child, 0), SIGUSR1, "taken away; the next");
    is(go(PTRACE_CONT, child, SIGUSR2), SIGWINCH, "made another; one that is ignored is seen");
    is_errno(trace(PTRACE_CONT, child, 0, 65), EIO, "a signal that there is not");
    is_exit(status_after(PTRACE_CONT, child, SIGWINCH), 12, "what the handlers have seen");

    child = traced(gets_signals);
    is(go(PTRACE_CONT, child, 0), SIGUSR1, "stops");
    is_killed(status_after(PTRACE_CONT, child, SIGTERM), SIGTERM, "dies of what it is given");

    uint64_t mask = 0;
    child = traced(gets_signals);
    is_errno(trace(PTRACE_GETSIGMASK, child, 4, (long)&mask), EINVAL, "a mask of another size");
    need(trace(PTRACE_GETSIGMASK, child, 8, (long)&mask) == 0);
    is(mask, 0, "nothing is blocked");
    mask = 1ul << (SIGUSR1 - 1);
    need(trace(PTRACE_SETSIGMASK, child, 8, (long)&mask) == 0);
    is(go(PTRACE_CONT, child, 0), SIGWINCH, "now it is");
    is_exit(status_after(PTRACE_CONT, child, 0), 0, "no handler ran");
}

static void waiting(void) {
    pid_t child = traced(nothing);
    siginfo_t si;
    need(trace(PTRACE_CONT, child, 0, 0) == 0);
    need(waitid(P_PID, (id_t)child, &si, WEXITED | WNOWAIT) == 0);
    is(si.si_code, CLD_EXITED, "the end");
    reap(child);
    child = fork();
    need(child >= 0);
    if (child == 0) {
        trace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGUSR1);
        _exit(0);
    }
    memset(&si, 0, sizeof si);
    need(waitid(P_PID, (id_t)child, &si, WEXITED | WNOWAIT) == 0);
    ok(si.si_code == CLD_TRAPPED && si.si_status == SIGUSR1,
       "waitid tells a stop without WSTOPPED");
    is(next_stop(child), SIGUSR1, "wait4 too");
    int status;
    is(waitpid(child, &status, WNOHANG), 0, "once");
    end(child);
}

// ---- Steps

static void steps(void) {
    asm volatile("nop\n\tnop\n\tnop\n\tnop" ::: "memory");
    asm volatile("syscall" : : "a"(SYS_getpid) : "rcx", "r11", "memory");
    asm volatile("nop" ::: "memory");
    _exit(handled);
}

static void single_steps(void) {
    pid_t child = traced(steps);
    struct user_regs_struct r = registers(child);
    r.rip = (unsigned long)steps;
    r.rsp = (r.rsp - 256) / 16 * 16 - 8;
    set_registers(child, &r);
    bool in_order = true, over_call = false;
    unsigned long last = r.rip;
    for (int i = 0; i < 40 && !over_call; i++) {
        unsigned char code[8];
        long here = peek(child, (void*)last);
        memcpy(code, &here, sizeof code);
        in_order &= go(PTRACE_SINGLESTEP, child, 0) == SIGTRAP;
        r = registers(child);
        in_order &= r.rip > last && r.rip <= last + 15;
        in_order &= !(r.eflags & 0x100);
        over_call = code[0] == 0x0f && code[1] == 0x05;
        if (over_call)
            in_order &= r.rip == last + 2;
        last = r.rip;
    }
    ok(in_order, "one instruction each time");
    ok(over_call, "a system call is one, too");
    siginfo_t si;
    is(go(PTRACE_SINGLESTEP, child, 0), SIGTRAP, "one more");
    need(trace(PTRACE_GETSIGINFO, child, 0, (long)&si) == 0);
    ok(si.si_signo == SIGTRAP && si.si_code == TRAP_TRACE, "TRAP_TRACE");
    is_exit(status_after(PTRACE_CONT, child, 0), 0, "and on");

    child = traced(gets_signals);
    is(go(PTRACE_CONT, child, 0), SIGUSR1, "a signal");
    is(go(PTRACE_SINGLESTEP, child, SIGUSR1), SIGTRAP, "a step with it");
    is(registers(child).rip, (unsigned long)count, "ends where the handler begins");
    need(trace(PTRACE_DETACH, child, 0, 0) == 0);
    is_exit(reap(child), 111, "without its tracer it goes on as if nothing had been");
}

// ---- Attach, seize

static void attach(void) {
    pid_t child = sleeper();
    need(trace(PTRACE_ATTACH, child, 0, 0) == 0);
    is(next_stop(child), SIGSTOP, "PTRACE_ATTACH stops");
    is_errno(trace(PTRACE_ATTACH, child, 0, 0), EPERM, "once");
    need(trace(PTRACE_CONT, child, 0, 0) == 0);
    struct user_regs_struct r;
    is_errno(trace(PTRACE_GETREGS, child, 0, (long)&r), ESRCH, "it does not stop");
    is_errno(trace(PTRACE_DETACH, child, 0, 0), ESRCH, "not to be let go of, either");
    is_errno(trace(PTRACE_INTERRUPT, child, 0, 0), EIO, "PTRACE_INTERRUPT is for PTRACE_SEIZE");
    kill(child, SIGUSR1);
    is(next_stop(child), SIGUSR1, "a signal stops it");
    need(trace(PTRACE_DETACH, child, 0, 0) == 0);
    is(status_number(child, "TracerPid:"), 0, "nobody traces it");
    is_errno(trace(PTRACE_CONT, child, 0, 0), ESRCH, "it is not ours any more");
    need(trace(PTRACE_ATTACH, child, 0, 0) == 0);
    is(next_stop(child), SIGSTOP, "again");
    need(trace(PTRACE_DETACH, child, 0, SIGTERM) == 0);
    is_killed(reap(child), SIGTERM, "let go of with a signal");
}

static void stopped_before(void) {
    pid_t child = sleeper();
    kill(child, SIGSTOP);
    int status;
    need(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    need(trace(PTRACE_ATTACH, child, 0, 0) == 0);
    is(next_stop(child), SIGSTOP, "one that had stopped");
    need(trace(PTRACE_DETACH, child, 0, 0) == 0);
    eventually(proc_state(child) == 'T');
    is(proc_state(child), 'T', "has stopped again, without its tracer");
    kill(child, SIGCONT);
    eventually(proc_state(child) == 'S');
    is(proc_state(child), 'S', "until it is continued");
    end(child);
}

static void seize(void) {
    pid_t child = sleeper();
    is_errno(trace(PTRACE_SEIZE, child, 1, 0), EIO, "an address");
    need(trace(PTRACE_SEIZE, child, 0, 0) == 0);
    int status;
    is(waitpid(child, &status, WNOHANG | __WALL), 0, "PTRACE_SEIZE does not stop");
    need(trace(PTRACE_INTERRUPT, child, 0, 0) == 0);
    is(next_stop(child), SIGTRAP | LINUX_EVENT_STOP << 8, "PTRACE_INTERRUPT does");
    siginfo_t si;
    need(trace(PTRACE_GETSIGINFO, child, 0, (long)&si) == 0);
    is(si.si_code, SIGTRAP | LINUX_EVENT_STOP << 8, "its siginfo");
    need(trace(PTRACE_CONT, child, 0, 0) == 0);
    kill(child, SIGSTOP);
    is(next_stop(child), SIGSTOP, "a stop signal");
    is(go(PTRACE_CONT, child, SIGSTOP), SIGSTOP | LINUX_EVENT_STOP << 8, "then its process stops");
    need(trace(PTRACE_LISTEN, child, 0, 0) == 0);
    is(waitpid(child, &status, WNOHANG | __WALL), 0, "PTRACE_LISTEN: it stays");
    struct user_regs_struct r;
    is_errno(trace(PTRACE_GETREGS, child, 0, (long)&r), ESRCH, "and is not to be looked at");
    kill(child, SIGCONT);
    int next = next_stop(child);
    is(next, SIGTRAP | LINUX_EVENT_STOP << 8, "until it is continued");
    next = go(PTRACE_CONT, child, 0);
    is(next, SIGCONT, "which it then gets");
    need(trace(PTRACE_CONT, child, 0, 0) == 0);
    end(child);
}

static void errors(void) {
    long got;
    is_errno(trace(PTRACE_ATTACH, getpid(), 0, 0), EPERM, "oneself");
    is_errno(trace(PTRACE_ATTACH, 0x3ffffffe, 0, 0), ESRCH, "nobody");
    is_errno(trace(PTRACE_PEEKDATA, getpid(), (long)&word, (long)&got), ESRCH, "not traced");
    is_errno(trace(PTRACE_CONT, getppid(), 0, 0), ESRCH, "somebody else");
    is_errno(trace(0x7777, getppid(), 0, 0), ESRCH, "no request, of nobody");
    pid_t child = traced(nothing);
    is_errno(trace(0x7777, child, 0, 0), EIO, "no request");
    is_errno(trace(PTRACE_SETOPTIONS, child, 0, 1 << 30), EINVAL, "no option");
    is_errno(trace(PTRACE_LISTEN, child, 0, 0), EIO, "PTRACE_LISTEN is for PTRACE_SEIZE");
    pid_t other = fork();
    need(other >= 0);
    if (other == 0)
        _exit(trace(PTRACE_ATTACH, child, 0, 0) < 0 && errno == EPERM &&
              trace(PTRACE_CONT, child, 0, 0) < 0 && errno == ESRCH);
    is_exit(reap(other), 1, "a second tracer");
    need(trace(PTRACE_KILL, child, 0, 0) == 0);
    is_killed(reap(child), SIGKILL, "PTRACE_KILL");
}

// ---- The end of each

// A process that traces `child`, has let it stop, and ends when the gate is opened; with `status`.
static pid_t other_tracer(pid_t child, const struct gate* stopped, const struct gate* go_on,
                          long options) {
    pid_t tracer = fork();
    need(tracer >= 0);
    if (tracer == 0) {
        if (trace(PTRACE_SEIZE, child, 0, options) != 0 ||
            trace(PTRACE_INTERRUPT, child, 0, 0) != 0 || next_stop(child) < 0)
            _exit(1);
        gate_open(stopped);
        gate_pass(go_on);
        _exit(0);
    }
    gate_pass(stopped);
    return tracer;
}

static void ends_of_tracers(void) {
    struct gate stopped = gate_make(), go_on = gate_make();
    pid_t child = sleeper();
    pid_t tracer = other_tracer(child, &stopped, &go_on, 0);
    is(proc_state(child), 't', "stopped by another process");
    is(status_number(child, "TracerPid:"), tracer, "TracerPid");
    gate_open(&go_on);
    is_exit(reap(tracer), 0, "that ends");
    eventually(proc_state(child) == 'S');
    is(status_number(child, "TracerPid:"), 0, "the child goes on");
    tracer = other_tracer(child, &stopped, &go_on, PTRACE_O_EXITKILL);
    gate_open(&go_on);
    reap(tracer);
    is_killed(reap(child), SIGKILL, "with PTRACE_O_EXITKILL it does not");
    child = sleeper();
    tracer = other_tracer(child, &stopped, &go_on, 0);
    kill(child, SIGKILL);
    int status;
    breathe();
    is(waitpid(child, &status, WNOHANG), 0, "its tracer hears of its end first");
    gate_open(&go_on);
    is_killed(reap(child), SIGKILL, "then its parent");
    reap(tracer);
}

// The tracer is a sibling: it hears of the end before the parent does, and waits.
static void both_hear(void) {
    struct gate traced_now = gate_make(), go_on = gate_make();
    pid_t child = sleeper(), tracer = fork();
    need(tracer >= 0);
    if (tracer == 0) {
        need(trace(PTRACE_SEIZE, child, 0, 0) == 0);
        gate_open(&traced_now);
        gate_pass(&go_on);
        int status;
        if (waitpid(child, &status, __WALL) != child || !WIFSIGNALED(status))
            _exit(1);
        _exit(waitpid(child, &status, __WALL) < 0 && errno == ECHILD ? 0 : 2);
    }
    gate_pass(&traced_now);
    kill(child, SIGKILL);
    eventually(proc_state(child) == 'Z');
    int status;
    is(waitpid(child, &status, WNOHANG), 0, "a zombie is its tracer's first");
    gate_open(&go_on);
    is_exit(reap(tracer), 0, "who hears of it once");
    is_killed(reap(child), SIGKILL, "then its parent does");
}

// SIGKILL ends every stop.
static void killed_in(pid_t child, const char* where) {
    kill(child, SIGKILL);
    is_killed(reap(child), SIGKILL, "killed %s", where);
}

static void kills(void) {
    killed_in(traced(nothing), "before a signal");
    killed_in(at_getppid(), "before a call");
    pid_t child = at_getppid();
    need(go(PTRACE_SYSCALL, child, 0) == (SIGTRAP | 0x80));
    killed_in(child, "behind it");
    child = traced(steps);
    need(go(PTRACE_SINGLESTEP, child, 0) == SIGTRAP);
    killed_in(child, "between two steps");
    child = sleeper();
    need(trace(PTRACE_SEIZE, child, 0, 0) == 0);
    kill(child, SIGSTOP);
    need(next_stop(child) == SIGSTOP);
    need(go(PTRACE_CONT, child, SIGSTOP) == (SIGSTOP | LINUX_EVENT_STOP << 8));
    need(trace(PTRACE_LISTEN, child, 0, 0) == 0);
    killed_in(child, "while it listens");
}

// ---- exec

static const char* self;
static void execs(void) {
    execl(self, self, "exit", (char*)NULL);
    _exit(98);
}

static void exec_stops(void) {
    pid_t child = traced(execs);
    is(go(PTRACE_CONT, child, 0), SIGTRAP, "a new program begins with SIGTRAP");
    siginfo_t si;
    need(trace(PTRACE_GETSIGINFO, child, 0, (long)&si) == 0);
    ok(si.si_code == SI_USER && si.si_pid == child, "of its own");
    need(peek(child, (void*)registers(child).rip) != 0);
    is_exit(status_after(PTRACE_CONT, child, 0), 42, "and runs");
    child = traced(execs);
    need(trace(PTRACE_DETACH, child, 0, 0) == 0);
    is_exit(reap(child), 42, "without a tracer it does not");
}

// ---- Threads

static volatile pid_t thread_id;
static struct gate thread_runs, thread_ends, main_ends;
static void* thread_body(void* unused) {
    thread_id = (pid_t)syscall(SYS_gettid);
    gate_open(&thread_runs);
    gate_pass(&thread_ends);
    return unused;
}

static void with_thread(void) {
    pthread_t t;
    need(pthread_create(&t, NULL, thread_body, NULL) == 0);
    gate_pass(&thread_runs);
    *(volatile pid_t*)shared_page = thread_id;
    need(pthread_join(t, NULL) == 0);
    gate_pass(&main_ends);
    _exit(5);
}

static void threads(void) {
    shared_page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(shared_page != MAP_FAILED);
    volatile pid_t* const tid = (pid_t*)shared_page;
    thread_runs = gate_make();
    thread_ends = gate_make();
    main_ends = gate_make();
    pid_t child = fork();
    need(child >= 0);
    if (child == 0)
        with_thread();
    eventually(*tid != 0);
    need(trace(PTRACE_SEIZE, *tid, 0, 0) == 0);
    need(trace(PTRACE_INTERRUPT, *tid, 0, 0) == 0);
    is(next_stop(*tid), SIGTRAP | LINUX_EVENT_STOP << 8, "one thread stops");
    is(proc_state(child), 'S', "the others do not");
    ok(registers(*tid).rip != 0, "its registers");
    need(trace(PTRACE_CONT, *tid, 0, 0) == 0);
    gate_open(&thread_ends);
    int status;
    is(waitpid(*tid, &status, __WALL), *tid, "its end is told");
    ok(exited_with(status, 0), "with its status");
    gate_open(&main_ends);
    is_exit(reap(child), 5, "then its process's");
}

// ---- Events

static void forks(void) {
    pid_t child = fork();
    if (child == 0)
        _exit(3);
    _exit(child > 0 && exited_with(reap(child), 3) ? 0 : 97);
}

static void vforks(void) {
    pid_t child = vfork();
    if (child == 0)
        _exit(3);
    _exit(child > 0 && exited_with(reap(child), 3) ? 0 : 97);
}

static pid_t message(pid_t pid) {
    unsigned long m;
    need(trace(PTRACE_GETEVENTMSG, pid, 0, (long)&m) == 0);
    return (pid_t)m;
}

static pid_t with_options(void (*body)(void), long options) {
    pid_t child = traced(body);
    need(trace(PTRACE_SETOPTIONS, child, 0, options) == 0);
    return child;
}

static void fork_events(void) {
    pid_t child = with_options(forks, PTRACE_O_TRACEFORK | PTRACE_O_TRACEEXIT);
    is(go(PTRACE_CONT, child, 0), SIGTRAP | PTRACE_EVENT_FORK << 8, "fork");
    pid_t grandchild = message(child);
    is(next_stop(grandchild), SIGSTOP, "its child is traced, too, and stops");
    is(status_number(grandchild, "PPid:"), child, "but is not ours");
    is(registers(grandchild).rax, 0, "before it has done anything");
    is(go(PTRACE_CONT, grandchild, 0), SIGTRAP | PTRACE_EVENT_EXIT << 8,
       "exit, an inherited option");
    is(message(grandchild), 3 << 8, "with what");
    is_exit(status_after(PTRACE_CONT, grandchild, 0), 3, "its end is told to us");
    int next = go(PTRACE_CONT, child, 0);
    if (next == SIGCHLD)
        next = go(PTRACE_CONT, child, SIGCHLD);
    is(next, SIGTRAP | PTRACE_EVENT_EXIT << 8, "and then to its parent");
    is_exit(status_after(PTRACE_CONT, child, 0), 0, "who has waited for it");
}

static void vfork_events(void) {
    pid_t child = with_options(vforks, PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE);
    is(go(PTRACE_CONT, child, 0), SIGTRAP | PTRACE_EVENT_VFORK << 8, "vfork");
    pid_t grandchild = message(child);
    is(next_stop(grandchild), SIGSTOP, "its child stops");
    need(trace(PTRACE_POKEDATA, grandchild, (long)&word, 77) == 0);
    is(peek(child, &word), 77, "in its parent's memory");
    need(trace(PTRACE_CONT, child, 0, 0) == 0);
    int status;
    breathe();
    is(waitpid(child, &status, WNOHANG | __WALL), 0, "the parent waits for it");
    is_exit(status_after(PTRACE_CONT, grandchild, 0), 3, "until it ends");
    int next = next_stop(child);
    is(next, SIGTRAP | PTRACE_EVENT_VFORK_DONE << 8, "vfork done");
    is(message(child), grandchild, "of that child");
    need(trace(PTRACE_DETACH, child, 0, 0) == 0);
    is_exit(reap(child), 0, "it goes on");
}

static void exec_and_exit_events(void) {
    pid_t child = with_options(execs, PTRACE_O_TRACEEXEC);
    is(go(PTRACE_CONT, child, 0), SIGTRAP | PTRACE_EVENT_EXEC << 8, "exec");
    is(message(child), child, "by the thread that it was");
    is_exit(status_after(PTRACE_CONT, child, 0), 42, "with no SIGTRAP");
    child = with_options(nothing, PTRACE_O_TRACEEXIT);
    is(go(PTRACE_CONT, child, SIGTERM), SIGTRAP | PTRACE_EVENT_EXIT << 8, "exit by a signal");
    is(message(child), SIGTERM, "which it is");
    is_killed(status_after(PTRACE_CONT, child, 0), SIGTERM, "and dies");
}

static void* thread_execs(void* unused) {
    execs();
    return unused;
}
static void execs_in_thread(void) {
    pthread_t t;
    need(pthread_create(&t, NULL, thread_execs, NULL) == 0);
    sleeps();
}

static void exec_by_another_thread(void) {
    pid_t child = with_options(execs_in_thread, PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC);
    is(go(PTRACE_CONT, child, 0), SIGTRAP | PTRACE_EVENT_CLONE << 8, "a thread");
    pid_t tid = message(child);
    is(next_stop(tid), SIGSTOP, "is traced, too");
    need(trace(PTRACE_CONT, child, 0, 0) == 0);
    need(trace(PTRACE_CONT, tid, 0, 0) == 0);
    is(next_stop(child), SIGTRAP | PTRACE_EVENT_EXEC << 8, "its exec is the process's");
    is(message(child), tid, "it was the thread's");
    is_exit(status_after(PTRACE_CONT, child, 0), 42, "the new program runs");
}

static void memory_by_proc(void) {
    pid_t child = traced(exits_with_word);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", child);
    int fd = open(path, O_RDWR);
    need(fd >= 0);
    long value = 0;
    is(pread(fd, &value, sizeof value, (off_t)(uintptr_t)&word), sizeof value, "read");
    is(value, 17, "the child's word");
    value = 31;
    is(pwrite(fd, &value, sizeof value, (off_t)(uintptr_t)&word), sizeof value, "written");
    is(pwrite(fd, nine_code, sizeof nine_code, (off_t)(uintptr_t)seven), sizeof nine_code,
       "text, too");
    is(seven(), 7, "ours is as it was");
    is_errno(pread(fd, &value, sizeof value, 8), EIO, "nothing is mapped there");
    is_exit(status_after(PTRACE_CONT, child, 0), 31, "the child finds it");
    is(pread(fd, &value, sizeof value, (off_t)(uintptr_t)&word), 0,
       "of one that has ended, nothing");
    close(fd);
}

// ---- Permission

static void permission(void) {
    if (geteuid() != 0) {
        ok(true, "only root can change its user # SKIP");
        return;
    }
    pid_t root = sleeper(), other = fork();
    need(other >= 0);
    if (other == 0) {
        become(65534);
        _exit(trace(PTRACE_ATTACH, root, 0, 0) < 0 && errno == EPERM &&
              trace(PTRACE_SEIZE, root, 0, 0) < 0 && errno == EPERM &&
              trace(PTRACE_ATTACH, 1, 0, 0) < 0 && errno == EPERM);
    }
    is_exit(reap(other), 1, "root's are not for everybody");
    end(root);
}

int main(int argc, char** argv) {
    if (argc > 1)
        return 42;
    self = self_path(argv[0]);
    subtest("memory", memory);
    subtest("text", text);
    subtest("memory that is not to be written", not_to_be_written);
    subtest("registers", registers_of_a_stop);
    subtest("floating point", floating_point);
    subtest("system calls", system_calls);
    subtest("signals", signals);
    subtest("waiting", waiting);
    subtest("single steps", single_steps);
    subtest("attach", attach);
    subtest("one that had stopped", stopped_before);
    subtest("seize", seize);
    subtest("errors", errors);
    subtest("tracers end", ends_of_tracers);
    subtest("tracer and parent", both_hear);
    subtest("SIGKILL", kills);
    subtest("exec", exec_stops);
    subtest("threads", threads);
    subtest("fork", fork_events);
    subtest("vfork", vfork_events);
    subtest("exec and exit", exec_and_exit_events);
    subtest("exec by another thread", exec_by_another_thread);
    subtest("/proc/PID/mem", memory_by_proc);
    subtest("permission", permission);
    return done();
}

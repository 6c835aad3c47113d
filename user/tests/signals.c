// Signals: handlers and what runs around them, masks, what is pending, interrupted calls.
// Default actions, inheritance and sending are in signal_defaults.c, stacks and the interrupted
// context in signal_context.c.
#include "../lib/proc.h"

#include <sys/syscall.h>

static volatile sig_atomic_t count, last, depth, deepest, during;
static siginfo_t seen;

static void counting(int signo) {
    count++;
    last = signo;
}

static void with_info(int signo, siginfo_t* info, void* context) {
    (void)context;
    counting(signo);
    seen = *info;
}

static void handle(int signo, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigemptyset(&action.sa_mask);
    need(sigaction(signo, &action, NULL) == 0);
    count = 0;
}

static sigset_t set_of(int signo) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    return set;
}

static void handlers(void) {
    handle(SIGUSR1, counting, 0);
    for (int i = 0; i < 100; i++)
        need(kill(getpid(), SIGUSR1) == 0);
    is(count, 100, "a signal to oneself is handled before kill returns");
    is(last, SIGUSR1, "the handler gets its number");

    struct sigaction old;
    handle(SIGUSR2, counting, SA_RESTART);
    need(sigaction(SIGUSR2, NULL, &old) == 0);
    ok(old.sa_handler == counting && (old.sa_flags & SA_RESTART), "sigaction tells what is set");
    is_errno(sigaction(SIGKILL, &old, NULL), EINVAL, "SIGKILL cannot be handled");
    is_errno(sigaction(SIGSTOP, &old, NULL), EINVAL, "nor SIGSTOP");
    is_errno(sigaction(0, &old, NULL), EINVAL, "nor 0");
    is_errno(sigaction(65, &old, NULL), EINVAL, "nor 65");

    handle(SIGUSR1, counting, SA_RESETHAND);
    raise(SIGUSR1);
    need(sigaction(SIGUSR1, NULL, &old) == 0);
    ok(count == 1 && old.sa_handler == SIG_DFL, "SA_RESETHAND: once, then the default");
}

static void info(void) {
    struct sigaction action = {.sa_sigaction = with_info, .sa_flags = SA_SIGINFO};
    need(sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGCHLD, &action, NULL) == 0);
    kill(getpid(), SIGUSR1);
    is(seen.si_signo, SIGUSR1, "si_signo");
    is(seen.si_code, SI_USER, "si_code of kill");
    is(seen.si_pid, getpid(), "si_pid");
    is(seen.si_uid, getuid(), "si_uid");
    syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
    is(seen.si_code, SI_TKILL, "si_code of tgkill");

    sigset_t block = set_of(SIGCHLD), none;
    sigemptyset(&none);
    sigprocmask(SIG_BLOCK, &block, NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(17);
    is_errno(sigsuspend(&none), EINTR, "the end of a child raises SIGCHLD");
    is(seen.si_pid, child, "with the child's id");
    is(seen.si_code, CLD_EXITED, "how it ended");
    is(seen.si_status, 17, "and its exit status");
    reap(child);
    child = fork();
    if (child == 0)
        for (;;)
            pause();
    kill(child, SIGTERM);
    sigsuspend(&none);
    is(seen.si_code, CLD_KILLED, "or that it was killed");
    is(seen.si_status, SIGTERM, "and by what");
    reap(child);
}

static void nested(int signo) {
    sigset_t now;
    count++;
    if (++depth > deepest)
        deepest = depth;
    sigprocmask(SIG_BLOCK, NULL, &now);
    during = sigismember(&now, SIGUSR1) | sigismember(&now, SIGUSR2) << 1;
    if (count < 3)
        kill(getpid(), signo);
    depth--;
}

static void masks_in_handlers(void) {
    handle(SIGUSR1, nested, 0);
    raise(SIGUSR1);
    is(deepest, 1, "a handler is not interrupted by its own signal");
    is(count, 3, "which comes after it instead");
    is(during, 1, "the mask during it has the signal");
    handle(SIGUSR1, nested, SA_NODEFER);
    deepest = 0;
    raise(SIGUSR1);
    is(deepest, 3, "SA_NODEFER: it is interrupted");
    is(during, 0, "and the mask does not have it");
    struct sigaction action = {.sa_handler = nested};
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGUSR2);
    need(sigaction(SIGUSR1, &action, NULL) == 0);
    raise(SIGUSR1);
    is(during, 3, "sa_mask is blocked too");
    sigset_t now;
    sigprocmask(SIG_BLOCK, NULL, &now);
    ok(!sigismember(&now, SIGUSR1) && !sigismember(&now, SIGUSR2), "the mask is put back");
}

static void blocked(void) {
    sigset_t set = set_of(SIGUSR1), now, none;
    sigemptyset(&none);
    handle(SIGUSR1, counting, 0);
    need(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    for (int i = 0; i < 5; i++)
        kill(getpid(), SIGUSR1);
    is(count, 0, "a blocked signal waits");
    need(sigpending(&now) == 0);
    ok(sigismember(&now, SIGUSR1) && !sigismember(&now, SIGUSR2), "sigpending shows it");
    need(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
    is(count, 1, "and comes once when it is let through");
    sigpending(&now);
    ok(!sigismember(&now, SIGUSR1), "then none is pending");

    sigprocmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGUSR1);
    is_errno(sigsuspend(&none), EINTR, "sigsuspend lets it through");
    is(count, 2, "its handler has run");
    sigprocmask(SIG_BLOCK, NULL, &now);
    ok(sigismember(&now, SIGUSR1), "and the mask is put back");
    sigfillset(&set);
    need(sigprocmask(SIG_SETMASK, &set, NULL) == 0);
    sigprocmask(SIG_BLOCK, NULL, &now);
    ok(!sigismember(&now, SIGKILL) && !sigismember(&now, SIGSTOP) && sigismember(&now, SIGTERM),
       "all can be blocked but SIGKILL and SIGSTOP");
    is_errno(sigprocmask(77, &set, NULL), EINVAL, "a way of changing the mask that is none");
    sigprocmask(SIG_SETMASK, &none, NULL);
    kill(getpid(), SIGUSR1);
    handle(SIGUSR1, counting, 0);
    sigset_t usr1 = set_of(SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    kill(getpid(), SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    sigpending(&now);
    ok(!sigismember(&now, SIGUSR1), "ignoring a signal throws away what is pending of it");
}

// A child signals its parent once that sleeps in read, then writes a byte.
static ssize_t interrupted_read(int flags, int* error) {
    int data[2];
    need(pipe(data) == 0);
    handle(SIGUSR1, counting, flags);
    pid_t parent = getpid(), child = fork();
    need(child >= 0);
    if (child == 0) {
        need(eventually(proc_state(parent) == 'S'));
        kill(parent, SIGUSR1);
        need(eventually(proc_state(parent) == 'S')); // asleep again, in read or in waitpid
        need(write(data[1], "x", 1) == 1);
        _exit(0);
    }
    char byte;
    errno = 0;
    ssize_t n = read(data[0], &byte, 1);
    *error = errno;
    need(exited_with(reap(child), 0));
    close(data[0]);
    close(data[1]);
    return n;
}

static void interrupted_calls(void) {
    int error;
    is(interrupted_read(0, &error), -1, "a read that a signal interrupts fails");
    is(error, EINTR, "with EINTR");
    is(count, 1, "after the handler has run");
    is(interrupted_read(SA_RESTART, &error), 1, "with SA_RESTART it goes on to its end");
    is(count, 1, "after the handler has run");
}

static int order[16], taken;
static void in_order(int signo) { order[taken++] = signo; }

// Of several that can be taken at once: faults, then by number. The handlers' masks are full, so
// that one ends before the next begins.
static void which_is_first(void) {
    static const int sent[] = {SIGUSR1, SIGSYS, SIGSEGV, SIGFPE, SIGHUP,
                               SIGBUS,  SIGINT, SIGTRAP, SIGILL},
                     want[] = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV,
                               SIGSYS, SIGHUP,  SIGINT, SIGUSR1};
    enum { COUNT = sizeof sent / sizeof *sent };
    struct sigaction action = {.sa_handler = in_order};
    sigset_t none;
    sigfillset(&action.sa_mask);
    sigemptyset(&none);
    need(sigprocmask(SIG_BLOCK, &action.sa_mask, NULL) == 0);
    for (int i = 0; i < COUNT; i++)
        need(sigaction(sent[i], &action, NULL) == 0 && kill(getpid(), sent[i]) == 0);
    need(sigprocmask(SIG_SETMASK, &none, NULL) == 0);
    is(taken, COUNT, "all are taken");
    for (int i = 0; i < COUNT; i++)
        is(order[i], want[i], "number %d is %s", i, strsignal(want[i]));
}

int main(void) {
    subtest("handlers", handlers);
    subtest("siginfo", info);
    subtest("masks during handlers", masks_in_handlers);
    subtest("blocked and pending", blocked);
    subtest("interrupted calls", interrupted_calls);
    subtest("which is first", which_is_first);
    return done();
}

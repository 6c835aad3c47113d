// Signals that nobody handles, what fork and exec do to the handling, and to whom kill sends.
#include "../lib/proc.h"

static const char* self;

static void raise_it(void* signo) {
    raise(*(int*)signo);
    _exit(50); // still there
}

static void defaults(void) {
    static const int fatal[] = {SIGHUP,  SIGINT,    SIGQUIT, SIGILL,  SIGTRAP,   SIGABRT, SIGBUS,
                                SIGFPE,  SIGKILL,   SIGUSR1, SIGSEGV, SIGUSR2,   SIGPIPE, SIGALRM,
                                SIGTERM, SIGSTKFLT, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO,
                                SIGPWR,  SIGSYS,    34,      64};
    static const int harmless[] = {SIGCHLD, SIGCONT, SIGURG, SIGWINCH};
    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++) {
        int signo = fatal[i];
        is_killed(status_of(raise_it, &signo), signo, "signal %d kills", signo);
    }
    for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++) {
        int signo = harmless[i];
        is_exit(status_of(raise_it, &signo), 50, "signal %d does nothing", signo);
    }
    static const int stopping[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
    for (size_t i = 0; i < sizeof stopping / sizeof stopping[0]; i++) {
        int signo = stopping[i], status;
        pid_t child = spawn(raise_it, &signo);
        need(waitpid(child, &status, WUNTRACED) == child);
        ok(WIFSTOPPED(status) && WSTOPSIG(status) == signo, "signal %d stops", signo);
        need(kill(child, SIGCONT) == 0);
        is_exit(reap(child), 50, "and SIGCONT sets going again");
    }
}

static void writer(void* unused) {
    int ends[2];
    (void)unused;
    need(pipe(ends) == 0 && close(ends[0]) == 0);
    ssize_t n = write(ends[1], "x", 1);
    _exit(n == -1 && errno == EPIPE ? 50 : 51);
}

static void broken_pipe(void) {
    is_killed(status_of(writer, NULL), SIGPIPE, "a write nobody can read raises SIGPIPE");
    signal(SIGPIPE, SIG_IGN);
    is_exit(status_of(writer, NULL), 50, "and is EPIPE if that is ignored");
}

static void nothing(int signo) { (void)signo; }

static void check_inherited(void* unused) {
    struct sigaction action;
    sigset_t now;
    (void)unused;
    need(sigaction(SIGUSR1, NULL, &action) == 0 && action.sa_handler == nothing);
    need(sigaction(SIGUSR2, NULL, &action) == 0 && action.sa_handler == SIG_IGN);
    sigprocmask(SIG_BLOCK, NULL, &now);
    need(sigismember(&now, SIGTERM) == 1);
    sigpending(&now);
    need(sigismember(&now, SIGTERM) == 0);
}

static void exec_self(void* unused) {
    (void)unused;
    execl(self, "child", "after-exec", NULL);
    _exit(111);
}

// Exit status of the program after exec: a bit for each thing that is as it should be.
static int after_exec(void) {
    struct sigaction action;
    sigset_t blocked, pending;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    sigpending(&pending);
    int result = sigismember(&blocked, SIGTERM) | sigismember(&pending, SIGTERM) << 1;
    sigaction(SIGUSR1, NULL, &action);
    result |= (action.sa_handler == SIG_DFL) << 2;
    sigaction(SIGUSR2, NULL, &action);
    result |= (action.sa_handler == SIG_IGN) << 3;
    return result;
}

static void inheritance(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    signal(SIGUSR1, nothing);
    signal(SIGUSR2, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGTERM);
    is_exit(status_of(check_inherited, NULL), 0,
            "fork keeps handlers and mask, and not what is pending");
    pid_t child = fork();
    if (child == 0) {
        raise(SIGTERM);
        exec_self(NULL);
    }
    int status = reap(child);
    ok(WIFEXITED(status), "exec");
    is(WEXITSTATUS(status) & 1, 1, "exec keeps the mask");
    is(WEXITSTATUS(status) & 2, 2, "and what is pending");
    is(WEXITSTATUS(status) & 4, 4, "resets what was handled to the default");
    is(WEXITSTATUS(status) & 8, 8, "and leaves what was ignored ignored");
}

static void wait_forever(void* ready) {
    gate_open(ready);
    for (;;)
        pause();
}

static void sending(void) {
    is_errno(kill(getpid(), 65), EINVAL, "a signal that is none");
    is_errno(kill(getpid(), -1), EINVAL, "a negative one");
    is_errno(kill(0x3ffffffe, 0), ESRCH, "a process that is none");
    is_errno(kill(-0x3ffffffe, 0), ESRCH, "a group that is none");
    is(kill(getpid(), 0), 0, "signal 0 only asks");

    // Two children in a group of their own, one in ours.
    struct gate ready = gate_make();
    pid_t first = spawn(wait_forever, &ready), second = spawn(wait_forever, &ready);
    pid_t outside = spawn(wait_forever, &ready);
    need(setpgid(first, first) == 0 && setpgid(second, first) == 0);
    for (int i = 0; i < 3; i++)
        gate_pass(&ready);
    is(kill(-first, SIGTERM), 0, "kill of a group");
    is_killed(reap(first), SIGTERM, "reaches its leader");
    is_killed(reap(second), SIGTERM, "and its other member");
    is(waitpid(outside, NULL, WNOHANG), 0, "and nobody else");
    is_errno(kill(-first, 0), ESRCH, "when all are gone the group is");
    signal(SIGUSR1, SIG_IGN);
    is(kill(0, SIGUSR1), 0, "kill of 0: the caller's own group");
    is_killed(reap(outside), SIGUSR1, "reaches the child that is in it");
}

static void to_init(void* unused) {
    (void)unused;
    drop_root();
    need(kill(1, 0) == -1 && errno == EPERM);
}

static void permission(void) {
    is_exit(status_of(to_init, NULL), 0, "another user's process cannot be signalled");
}

static void spin(void* unused) {
    (void)unused;
    for (;;)
        continue;
}

static void busy_process(void) {
    pid_t child = spawn(spin, NULL);
    need(kill(child, SIGTERM) == 0);
    is_killed(reap(child), SIGTERM, "a process that never enters the kernel can be killed");
}

int main(int argc, char** argv) {
    if (argc == 2 && strcmp(argv[1], "after-exec") == 0)
        return after_exec();
    self = strdup(self_path(argv[0]));
    subtest("default actions", defaults);
    subtest("SIGPIPE", broken_pipe);
    subtest("fork and exec", inheritance);
    subtest("to whom", sending);
    subtest("permission", permission);
    subtest("a busy process", busy_process);
    return done();
}

// needs-root
// Signals that queue, their values, and waiting for signals without a handler.
#include "../lib/proc.h"

#include <sys/resource.h>
#include <sys/syscall.h>

static int order[16], values[16], count;

static void note(int signo, siginfo_t* info, void* context) {
    (void)context;
    order[count] = signo;
    values[count++] = info->si_value.sival_int;
}

static sigset_t block(int first, int second) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, first);
    sigaddset(&set, second);
    need(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    return set;
}

static void queue(int signo, int value) {
    need(sigqueue(getpid(), signo, (union sigval){.sival_int = value}) == 0);
}

static void queueing(void) {
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};
    sigfillset(&action.sa_mask);
    need(sigaction(SIGRTMIN, &action, NULL) == 0 && sigaction(SIGRTMIN + 1, &action, NULL) == 0);
    sigset_t set = block(SIGRTMIN, SIGRTMIN + 1);
    queue(SIGRTMIN + 1, 10);
    for (int i = 1; i <= 3; i++)
        queue(SIGRTMIN, i);
    is(count, 0, "blocked, they wait");
    need(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
    is(count, 4, "each of them comes");
    bool in_order = true;
    for (int i = 0; i < 3; i++)
        in_order &= order[i] == SIGRTMIN && values[i] == i + 1;
    ok(in_order, "the lowest number first, in the order in which they were sent");
    ok(order[3] == SIGRTMIN + 1 && values[3] == 10, "then the next");

    struct sigaction usr1 = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};
    need(sigaction(SIGUSR1, &usr1, NULL) == 0);
    set = block(SIGUSR1, SIGUSR1);
    count = 0;
    queue(SIGUSR1, 1);
    queue(SIGUSR1, 2);
    need(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
    is(count, 1, "a standard signal comes once");
    is(values[0], 1, "with the value of the first");
}

static void limited(void* unused) {
    (void)unused;
    block(SIGRTMIN, SIGUSR1);
    drop_root();
    struct rlimit limit = {3, 3};
    need(setrlimit(RLIMIT_SIGPENDING, &limit) == 0);
    int sent = 0;
    while (sent < 10 && sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = sent}) == 0)
        sent++;
    int error = errno;
    _exit(sent <= 3 && error == EAGAIN && kill(getpid(), SIGUSR1) == 0 ? 50 : sent);
}

static void limit(void) {
    is_exit(status_of(limited, NULL), 50,
            "sigqueue fails with EAGAIN at RLIMIT_SIGPENDING, kill does not");
}

static int make_timer(void) {
    int id;
    return (int)syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &id);
}

static void limited_timers(void* unused) {
    (void)unused;
    if (geteuid() == 0)
        need(setuid(some_user()) == 0); // who has nothing else pending
    struct rlimit limit = {5, 5};
    need(setrlimit(RLIMIT_SIGPENDING, &limit) == 0);
    int made = 0;
    while (made < 10 && make_timer() == 0)
        made++;
    need(made <= 5 && errno == EAGAIN);
    block(SIGRTMIN, SIGRTMIN);
    need(sigqueue(getpid(), SIGRTMIN, (union sigval){0}) == -1 && errno == EAGAIN);
    pid_t child = fork();
    if (child == 0)
        _exit(make_timer() == -1 && errno == EAGAIN ? 0 : 1);
    need(reap(child) == 0);
    need(syscall(SYS_timer_delete, 0) == 0 && make_timer() == 0);
    _exit(50);
}

static void limit_of_a_user(void) {
    is_exit(status_of(limited_timers, NULL), 50,
            "timers count too, for all processes of a user together");
}

static void waiting(void) {
    sigset_t set = block(SIGRTMIN, SIGUSR1);
    siginfo_t info;
    struct timespec none = {0, 0}, little = {0, 20000000}, wrong = {0, 1000000000};
    is_errno(sigtimedwait(&set, &info, &none), EAGAIN, "none is pending, and no time to wait");
    is_errno(sigtimedwait(&set, &info, &little), EAGAIN, "none has come in time");
    is_errno(sigtimedwait(&set, &info, &wrong), EINVAL, "a time that is none");
    queue(SIGRTMIN, 7);
    raise(SIGUSR1);
    is(sigwaitinfo(&set, &info), SIGUSR1, "the lowest one first");
    is(sigwaitinfo(&set, &info), SIGRTMIN, "then the next");
    is(info.si_value.sival_int, 7, "with its value");
    is(info.si_code, SI_QUEUE, "and how it was sent");

    // One that is ignored unless somebody waits for it.
    sigset_t child_set = block(SIGCHLD, SIGCHLD);
    pid_t child = fork();
    need(child >= 0);
    if (child == 0)
        _exit(3);
    is(sigwaitinfo(&child_set, &info), SIGCHLD, "SIGCHLD can be waited for");
    ok(info.si_pid == child && info.si_status == 3, "and tells of the child");
    reap(child);
}

static void nothing(int signo) { (void)signo; }

static void waiting_is_interrupted(void) {
    struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_RESTART};
    need(sigaction(SIGUSR2, &action, NULL) == 0);
    sigset_t set = block(SIGRTMIN, SIGUSR1);
    pid_t parent = getpid(), child = fork();
    need(child >= 0);
    if (child == 0) {
        need(eventually(proc_state(parent) == 'S'));
        kill(parent, SIGUSR2);
        _exit(0);
    }
    // By hand: the C library's begins again.
    is_errno(syscall(SYS_rt_sigtimedwait, &set, NULL, NULL, 8L), EINTR,
             "another signal ends the wait, whatever SA_RESTART says");
    reap(child);
}

static void wait_to_be_killed(void* unused) {
    (void)unused;
    for (;;)
        pause();
}

static void made_up(void) {
    siginfo_t info = {.si_signo = SIGUSR1, .si_code = SI_USER};
    pid_t child = spawn(wait_to_be_killed, NULL);
    is_errno(syscall(SYS_rt_sigqueueinfo, child, SIGUSR1, &info), EPERM,
             "nobody can pretend to be kill towards another process");
    info.si_code = SI_TKILL;
    is_errno(syscall(SYS_rt_sigqueueinfo, child, SIGUSR1, &info), EPERM, "nor tkill");
    info.si_code = SI_QUEUE;
    is_errno(syscall(SYS_rt_sigqueueinfo, child, 65, &info), EINVAL, "a signal that is none");
    is(syscall(SYS_rt_sigqueueinfo, child, 0, &info), 0, "signal 0 only asks");
    is(syscall(SYS_rt_sigqueueinfo, child, SIGTERM, &info), 0, "what queues can be sent");
    is_killed(reap(child), SIGTERM, "and acts");
    is_errno(syscall(SYS_rt_sigqueueinfo, 0x3ffffffe, SIGUSR1, &info), ESRCH, "nobody there");
    is_errno(syscall(SYS_tgkill, getpid(), -1, SIGUSR1), EINVAL, "tgkill of a thread that is none");
    is_errno(syscall(SYS_tgkill, getppid(), syscall(SYS_gettid), SIGUSR1), ESRCH,
             "of a thread of another process");
}

int main(void) {
    subtest("queueing", queueing);
    subtest("the limit", limit);
    subtest("the limit of a user", limit_of_a_user);
    subtest("waiting", waiting);
    subtest("interrupted waiting", waiting_is_interrupted);
    subtest("made-up information", made_up);
    return done();
}

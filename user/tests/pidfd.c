// pidfds: descriptors that stand for a process.
#include "../lib/clone.h"
#include "../lib/proc.h"

#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>

enum { PIDFD_P = 3 /* P_PIDFD */ };

static int pidfd_open_(pid_t pid, unsigned flags) {
    return (int)syscall(SYS_pidfd_open, pid, flags);
}

static int pidfd_kill(int fd, int signo, const siginfo_t* info, unsigned flags) {
    return (int)syscall(SYS_pidfd_send_signal, fd, signo, info, flags);
}

static short events_of(int fd, int timeout_ms) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    need(poll(&p, 1, timeout_ms) >= 0);
    return p.revents & POLLIN;
}

static void wait_at_gate(void* arg) {
    gate_pass(arg);
    _exit(5);
}

static void open_and_poll(void) {
    struct gate g = gate_make();
    pid_t child = spawn(wait_at_gate, &g);
    int fd = pidfd_open_(child, 0);
    need(fd >= 0);
    is(fcntl(fd, F_GETFD), FD_CLOEXEC, "a pidfd is close-on-exec");
    is(events_of(fd, 0), 0, "not readable while the process lives");
    gate_open(&g);
    is(events_of(fd, -1), POLLIN, "readable when it has ended");
    siginfo_t info = {0};
    is(waitid((idtype_t)PIDFD_P, (id_t)fd, &info, WEXITED | WNOWAIT), 0, "waitid with WNOWAIT");
    is(info.si_pid, child, "... says which process");
    is(info.si_status, 5, "... and its exit code");
    is(waitid((idtype_t)PIDFD_P, (id_t)fd, &info, WEXITED), 0, "waitid reaps");
    is_errno(waitid((idtype_t)PIDFD_P, (id_t)fd, &info, WEXITED), ECHILD, "once");
    is(events_of(fd, 0), POLLIN, "the pidfd stays readable");
    is_errno(pidfd_kill(fd, 0, NULL, 0), ESRCH, "but stands for nobody");
    char byte;
    is_errno(read(fd, &byte, 1), EINVAL, "there is nothing to read");
    need(close(fd) == 0);
}

static void signals(void) {
    struct gate g = gate_make();
    pid_t child = spawn(wait_at_gate, &g);
    int fd = pidfd_open_(child, 0);
    need(fd >= 0);
    is(pidfd_kill(fd, 0, NULL, 0), 0, "signal 0 asks");
    is_errno(pidfd_kill(fd, 500, NULL, 0), EINVAL, "no such signal");
    is_errno(pidfd_kill(fd, SIGTERM, NULL, 0x8000), EINVAL, "an unknown flag");
    is_errno(pidfd_kill(0, SIGTERM, NULL, 0), EBADF, "a descriptor that is no pidfd");
    is_errno(pidfd_kill(-1, SIGTERM, NULL, 0), EBADF, "no descriptor");
    siginfo_t info = {.si_signo = SIGINT, .si_code = SI_QUEUE};
    is_errno(pidfd_kill(fd, SIGTERM, &info, 0), EINVAL, "another signal in siginfo");
    info = (siginfo_t){.si_signo = SIGTERM, .si_code = SI_USER};
    is_errno(pidfd_kill(fd, SIGTERM, &info, 0), EPERM, "a siginfo that pretends");
    is(pidfd_kill(fd, SIGTERM, NULL, 0), 0, "SIGTERM");
    is_killed(reap(child), SIGTERM, "the process dies of it");
    need(close(fd) == 0);
}

static void end_at_once(void* arg) {}

static void directories(void) {
    struct gate gate = gate_make();
    pid_t child = spawn(wait_at_gate, &gate);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d", child);
    int fd = open(path, O_RDONLY | O_DIRECTORY), named = open(path, O_PATH);
    need(fd >= 0 && named >= 0);
    is(pidfd_kill(fd, 0, NULL, 0), 0, "a directory of /proc stands for its process");
    is_errno(pidfd_kill(named, 0, NULL, 0), EBADF, "not one that was opened by O_PATH");
    is(pidfd_kill(fd, SIGTERM, NULL, 0), 0, "SIGTERM");
    is_killed(reap(child), SIGTERM, "the process dies of it");
    is_errno(pidfd_kill(fd, 0, NULL, 0), ESRCH, "then it stands for nobody");
    need(close(fd) == 0 && (fd = open("/proc/self/fd", O_RDONLY)) >= 0);
    is_errno(pidfd_kill(fd, 0, NULL, 0), EBADF, "other directories do not");
}

static void errors(void) {
    is_errno(pidfd_open_(0, 0), EINVAL, "pid 0");
    is_errno(pidfd_open_(-1, 0), EINVAL, "pid -1");
    is_errno(pidfd_open_(getpid(), 1), EINVAL, "an unknown flag");
    pid_t gone = spawn(end_at_once, NULL);
    reap(gone);
    is_errno(pidfd_open_(gone, 0), ESRCH, "a process that is gone");
    siginfo_t info;
    is_errno(waitid((idtype_t)PIDFD_P, 0, &info, WEXITED), EBADF, "waitid: not a pidfd");
    int own = pidfd_open_(getpid(), 0);
    need(own >= 0);
    is_errno(waitid((idtype_t)PIDFD_P, (id_t)own, &info, WEXITED), ECHILD, "waitid: no child");
}

static void nonblocking(void) {
    struct gate g = gate_make();
    pid_t child = spawn(wait_at_gate, &g);
    int fd = pidfd_open_(child, O_NONBLOCK);
    need(fd >= 0);
    siginfo_t info = {0};
    is_errno(waitid((idtype_t)PIDFD_P, (id_t)fd, &info, WEXITED), EAGAIN, "waitid does not wait");
    gate_open(&g);
    is(events_of(fd, -1), POLLIN, "poll does");
    is(waitid((idtype_t)PIDFD_P, (id_t)fd, &info, WEXITED), 0, "now there is news");
    is(info.si_pid, child, "... of the child");
}

static void clone_gives_one(void) {
    int fd = -1;
    struct gate g = gate_make();
    long child = syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0L, &fd, 0L, 0L);
    need(child >= 0);
    if (child == 0)
        wait_at_gate(&g);
    ok(fd >= 0, "CLONE_PIDFD stores a descriptor");
    is(fcntl(fd, F_GETFD), FD_CLOEXEC, "it is close-on-exec");
    is(events_of(fd, 0), 0, "the child lives");
    gate_open(&g);
    is(events_of(fd, -1), POLLIN, "the child has ended");
    is_exit(reap((pid_t)child), 5, "it is reaped as usual");
    is_errno(syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0L, 8L, 0L, 0L), EFAULT,
             "a bad place for the descriptor");
    is_errno(waitpid(-1, NULL, 0), ECHILD, "... leaves no child");
    int next = dup(0);
    is(next, fd + 1, "... nor a descriptor");
    is_errno(syscall(SYS_clone, CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, 0L, &fd, 0L, 0L),
             EINVAL, "with CLONE_PARENT_SETTID: one place for two numbers");
}

static void clone3_gives_one(void) {
    if (clone_is_filtered())
        return skip("no clone3");
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    } args = {0};
    int fd = -1, tid = -1;
    args.flags = CLONE_PIDFD | CLONE_PARENT_SETTID;
    args.pidfd = (uintptr_t)&fd;
    args.parent_tid = (uintptr_t)&tid;
    args.exit_signal = SIGCHLD;
    long child = syscall(SYS_clone3, &args, sizeof args);
    need(child >= 0);
    if (child == 0)
        _exit(9);
    is(tid, child, "clone3 stores the tid");
    is(events_of(fd, -1), POLLIN, "... and a pidfd");
    siginfo_t info = {0};
    is(waitid((idtype_t)PIDFD_P, (id_t)fd, &info, WEXITED), 0, "waitid");
    is(info.si_status, 9, "exit code");
}

// A pidfd of a process that a pid has been reused for would lie; this one says ESRCH for ever.
static void outlives(void) {
    struct gate g = gate_make();
    pid_t child = spawn(wait_at_gate, &g);
    int fd = pidfd_open_(child, 0);
    need(fd >= 0);
    gate_open(&g);
    reap(child);
    for (int i = 0; i < 50; i++)
        reap(spawn(end_at_once, NULL));
    is_errno(pidfd_kill(fd, SIGKILL, NULL, 0), ESRCH, "a pidfd never stands for another process");
}

int main(void) {
    subtest("pidfd_open, poll, waitid", open_and_poll);
    subtest("pidfd_send_signal", signals);
    subtest("directories of /proc", directories);
    subtest("errors", errors);
    subtest("O_NONBLOCK", nonblocking);
    subtest("clone with CLONE_PIDFD", clone_gives_one);
    subtest("clone3 with CLONE_PIDFD", clone3_gives_one);
    subtest("after the end", outlives);
    return done();
}

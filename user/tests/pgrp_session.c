// Process groups and sessions. (Groups and terminals are tests/system's.)
#include "../lib/proc.h"

#include <fcntl.h>
#include <sys/ioctl.h>

static void hold(void* gate) { gate_pass(gate); }

static void groups(void) {
    is(getpgrp(), getpid(), "this process leads a group");
    is(getpgid(0), getpid(), "getpgid of 0 is the caller's");
    struct gate gate = gate_make();
    pid_t first = spawn(hold, &gate), second = spawn(hold, &gate);
    is(getpgid(first), getpid(), "a child is in its parent's group");
    is(setpgid(first, 0), 0, "setpgid to 0");
    is(getpgid(first), first, "makes it a leader");
    is(setpgid(second, first), 0, "into the group of a sibling");
    is(getpgid(second), first, "it goes");
    is(setpgid(second, getpgrp()), 0, "and back");
    is(setpgid(second, second), 0, "and to one of its own");
    gate_open(&gate);
    gate_open(&gate);
    need(exited_with(reap(first), 0) && exited_with(reap(second), 0));
}

// As in a shell's pipeline whose first command is done before the second has started.
static void group_of_a_zombie(void) {
    struct gate first = gate_make(), gate = gate_make();
    pid_t leader = spawn(hold, &first), follower = spawn(hold, &gate);
    is(setpgid(leader, leader), 0, "a leader");
    gate_open(&first);
    siginfo_t info;
    need(waitid(P_PID, (id_t)leader, &info, WEXITED | WNOWAIT) == 0);
    is(setpgid(follower, leader), 0, "its group can be joined when it has ended");
    gate_open(&gate);
    need(exited_with(reap(follower), 0) && exited_with(reap(leader), 0));
    follower = spawn(hold, &gate);
    is_errno(setpgid(follower, leader), EPERM, "but not when it was waited for");
    gate_open(&gate);
    need(exited_with(reap(follower), 0));
}

static void group_errors(void) {
    struct gate gate = gate_make();
    pid_t child = spawn(hold, &gate);
    is_errno(setpgid(0, -1), EINVAL, "a negative group");
    is_errno(setpgid(0x3ffffffe, 0), ESRCH, "a process that is none");
    is_errno(setpgid(getppid(), 0), ESRCH, "one that is no child");
    is_errno(setpgid(child, 0x3ffffffe), EPERM, "a group that is none");
    is_errno(getpgid(0x3ffffffe), ESRCH, "getpgid of none");
    is_errno(getsid(0x3ffffffe), ESRCH, "getsid of none");
    gate_open(&gate);
    need(exited_with(reap(child), 0));

    // After its exec a child's group is its own affair.
    int ends[2];
    need(pipe(ends) == 0);
    child = fork();
    if (child == 0) {
        dup2(ends[0], STDIN_FILENO);
        close(ends[0]);
        close(ends[1]);
        execl("/bin/cat", "cat", NULL);
        _exit(111);
    }
    need(eventually(setpgid(child, child) == -1));
    is(errno, EACCES, "a child that has called exec");
    close(ends[1]);
    is_exit(reap(child), 0, "it ends");
}

static void new_session(void* unused) {
    (void)unused;
    pid_t old = getsid(0);
    need(setsid() == getpid());
    need(getsid(0) == getpid() && getpgrp() == getpid() && old != getpid());
    need(setsid() == -1 && errno == EPERM);
    need(setpgid(0, 0) == -1 && errno == EPERM); // a session's leader stays where it is
    struct gate gate = gate_make();
    pid_t child = spawn(hold, &gate);
    need(getsid(child) == getpid());
    gate_open(&gate);
    need(exited_with(reap(child), 0));
}

static void lead_and_hold(void* gates) {
    struct gate* g = gates;
    need(setsid() == getpid());
    gate_open(&g[0]);
    gate_pass(&g[1]);
}

static void sessions(void) {
    is_errno(setsid(), EPERM, "the leader of a group cannot begin a session");
    is_exit(status_of(new_session, NULL), 0, "a child can, once");
    struct gate gates[2] = {gate_make(), gate_make()};
    pid_t leader = spawn(lead_and_hold, gates);
    gate_pass(&gates[0]);
    is(getsid(leader), leader, "a child in a session of its own");
    is_errno(setpgid(leader, getpgrp()), EPERM, "cannot be fetched back into a group");
    pid_t child = spawn(hold, &gates[1]);
    is_errno(setpgid(child, leader), EPERM, "nor another be put into its group");
    gate_open(&gates[1]);
    gate_open(&gates[1]);
    need(exited_with(reap(leader), 0) && exited_with(reap(child), 0));
}

static void no_terminal(void* unused) {
    (void)unused;
    need(setsid() > 0);
    need(open("/dev/tty", O_RDWR) == -1 && errno == ENXIO);
}

// A terminal for this test: a new one, or on Spork, which has no such, the machine's line.
static const char* a_terminal(void) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0)
        return "/dev/ttyS0";
    need(grantpt(master) == 0 && unlockpt(master) == 0);
    return ptsname(master);
}

static void take_terminal(void* unused) {
    (void)unused;
    const char* name = a_terminal();
    int to_write = open(name, O_WRONLY | O_NOCTTY), both = open(name, O_RDWR | O_NOCTTY);
    need(to_write >= 0 && both >= 0 && setsid() > 0);
    drop_root();
    need(ioctl(to_write, TIOCSCTTY, 0) == -1 && errno == EPERM);
    need(ioctl(both, TIOCSCTTY, 0) == 0);
    need(ioctl(to_write, TIOCSCTTY, 0) == 0); // it is already
}

static void terminal_to_write(void) {
    is_exit(status_of(take_terminal, NULL), 0,
            "who may only write to a terminal does not make it his session's");
}

static void without_terminal(void) {
    is_exit(status_of(no_terminal, NULL), 0, "a new session has no terminal: /dev/tty is ENXIO");
}

// A group left without a parent outside it, with a stopped member, is told so: SIGHUP, SIGCONT.
static void orphaned_group(void) {
    struct gate ready = gate_make();
    int report[2];
    need(pipe(report) == 0);
    pid_t middle = fork();
    need(middle >= 0);
    if (middle == 0) {
        pid_t child = fork();
        if (child == 0) {
            sigset_t set;
            int signo;
            need(setpgid(0, 0) == 0);
            sigemptyset(&set);
            sigaddset(&set, SIGHUP);
            sigprocmask(SIG_BLOCK, &set, NULL);
            gate_open(&ready);
            kill(getpid(), SIGSTOP);
            need(sigpending(&set) == 0);
            signo = sigismember(&set, SIGHUP) ? SIGHUP : 0;
            need(write(report[1], &signo, sizeof signo) == sizeof signo);
            _exit(0);
        }
        int status;
        gate_pass(&ready);
        need(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
        _exit(0);
    }
    is_exit(reap(middle), 0, "the parent of a stopped child ends");
    int signo = 0;
    need(read(report[0], &signo, sizeof signo) == sizeof signo);
    is(signo, SIGHUP, "the child goes on, with a SIGHUP pending");
}

int main(void) {
    subtest("groups", groups);
    subtest("a group whose leader has ended", group_of_a_zombie);
    subtest("errors of groups", group_errors);
    subtest("sessions", sessions);
    subtest("no terminal", without_terminal);
    if (geteuid() == 0)
        subtest("a terminal to write to", terminal_to_write);
    subtest("orphaned groups", orphaned_group);
    return done();
}

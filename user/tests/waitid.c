// waitid: which news, taken or left; SIGCHLD's fields; subreapers; PR_SET_PDEATHSIG; what was used.
#include "../lib/proc.h"
#include "../lib/spork.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static void hold(void* gate) { gate_pass(gate); }
static void hold_then_7(void* gate) {
    gate_pass(gate);
    _exit(7);
}

static siginfo_t info;

static bool is_news(pid_t pid, int code, int status) {
    return info.si_signo == SIGCHLD && info.si_pid == pid && info.si_code == code &&
           info.si_status == status && info.si_uid == getuid() && info.si_errno == 0;
}

static int ask(idtype_t type, pid_t id, int options) {
    memset(&info, 0xee, sizeof info);
    return waitid(type, (id_t)id, &info, options);
}

static void news(void) {
    struct gate gate = gate_make();
    pid_t child = spawn(hold_then_7, &gate);
    is(ask(P_PID, child, WEXITED | WSTOPPED | WCONTINUED | WNOHANG), 0, "no news yet");
    ok(info.si_pid == 0 && info.si_signo == 0, "says so by zeros");
    need(kill(child, SIGSTOP) == 0);
    is(ask(P_PID, child, WSTOPPED | WNOWAIT), 0, "WSTOPPED, WNOWAIT");
    ok(is_news(child, CLD_STOPPED, SIGSTOP), "stopped by SIGSTOP");
    is(ask(P_PID, child, WEXITED | WNOHANG), 0, "WEXITED");
    is(info.si_pid, 0, "does not tell of a stop");
    is(ask(P_PID, child, WSTOPPED), 0, "it is still there");
    ok(is_news(child, CLD_STOPPED, SIGSTOP), "the same");
    is(ask(P_PID, child, WSTOPPED | WNOHANG), 0, "once taken");
    is(info.si_pid, 0, "it is gone");
    need(kill(child, SIGCONT) == 0);
    is(ask(P_ALL, 0, WCONTINUED | WNOWAIT), 0, "WCONTINUED, WNOWAIT");
    ok(is_news(child, CLD_CONTINUED, SIGCONT), "continued by SIGCONT");
    is(ask(P_PGID, 0, WCONTINUED), 0, "P_PGID 0, WCONTINUED");
    ok(is_news(child, CLD_CONTINUED, SIGCONT), "still there");
    is(ask(P_PID, child, WCONTINUED | WNOHANG), 0, "once taken");
    is(info.si_pid, 0, "it is gone");
    gate_open(&gate);
    is(ask(P_ALL, 0, WEXITED | WNOWAIT), 0, "WEXITED, WNOWAIT");
    ok(is_news(child, CLD_EXITED, 7), "exited with 7");
    is(proc_state(child), 'Z', "it is a zombie still");
    is_errno(ask(P_PID, child, WSTOPPED | WNOHANG), ECHILD, "which will not stop any more");
    is_errno(ask(P_ALL, 0, WCONTINUED), ECHILD, "nor continue");
    is(ask(P_PGID, getpgrp(), WEXITED | WSTOPPED), 0, "P_PGID, WEXITED");
    ok(is_news(child, CLD_EXITED, 7), "the same");
    is_errno(ask(P_ALL, 0, WEXITED), ECHILD, "now there is no child");
}

static void killed(void) {
    struct gate gate = gate_make();
    pid_t child = spawn(hold, &gate);
    need(kill(child, SIGTERM) == 0);
    is(ask(P_PID, child, WEXITED), 0, "a killed one");
    ok(is_news(child, CLD_KILLED, SIGTERM), "killed by SIGTERM");
    child = spawn(hold, &gate);
    need(kill(child, SIGKILL) == 0);
    is(waitid(P_PID, (id_t)child, NULL, WEXITED), 0, "no siginfo is all right");
}

static void errors(void) {
    is_errno(ask(P_ALL, 0, 0), EINVAL, "no kind of news");
    is_errno(ask(P_ALL, 0, WNOHANG), EINVAL, "WNOHANG alone");
    is_errno(ask(P_ALL, 0, WEXITED | 0x100), EINVAL, "an option that is none");
    is_errno(ask(P_PID, 0, WEXITED), EINVAL, "P_PID 0");
    is_errno(ask(P_PID, -1, WEXITED), EINVAL, "P_PID -1");
    is_errno(ask(P_PGID, -1, WEXITED), EINVAL, "P_PGID -1");
    is_errno(ask((idtype_t)9, 0, WEXITED), EINVAL, "an id type that is none");
    is_errno(ask((idtype_t)3, -1, WEXITED), EINVAL, "P_PIDFD -1");
    is_errno(ask((idtype_t)3, 99, WEXITED), EBADF, "P_PIDFD of nothing");
    is_errno(ask((idtype_t)3, 0, WEXITED), EBADF, "P_PIDFD of a file");
    is_errno(ask(P_ALL, 0, WEXITED), ECHILD, "no child");
}

// ---- SIGCHLD ---------------------------------------------------------------------------------

static volatile siginfo_t seen[8];
static volatile int seen_count;
static void note(int signo, siginfo_t* i, void* context) {
    (void)signo;
    (void)context;
    seen[seen_count++ % 8] = *i;
}

static void use_time(void* gate) {
    struct rusage r;
    do
        getrusage(RUSAGE_SELF, &r);
    while (r.ru_utime.tv_usec + r.ru_stime.tv_usec < 150000 && r.ru_utime.tv_sec == 0);
    gate_pass(gate);
    _exit(3);
}

static bool last_is(int code, pid_t child, int status) {
    volatile siginfo_t* i = &seen[(seen_count - 1) % 8];
    return i->si_signo == SIGCHLD && i->si_code == code && i->si_pid == child &&
           i->si_status == status && i->si_uid == getuid();
}

static long hundredths(struct timeval t) { return t.tv_sec * 100 + t.tv_usec / 10000; }

static void sigchld(void) {
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | SA_RESTART};
    need(sigaction(SIGCHLD, &action, NULL) == 0);
    struct gate gate = gate_make();
    pid_t child = spawn(use_time, &gate);
    need(kill(child, SIGSTOP) == 0);
    ok(eventually(seen_count == 1), "a stop sends SIGCHLD");
    ok(last_is(CLD_STOPPED, child, SIGSTOP), "with its fields");
    need(kill(child, SIGCONT) == 0);
    ok(eventually(seen_count == 2), "SIGCONT sends SIGCHLD");
    ok(last_is(CLD_CONTINUED, child, SIGCONT), "with its fields");
    gate_open(&gate);
    ok(eventually(seen_count == 3), "the end sends SIGCHLD");
    ok(last_is(CLD_EXITED, child, 3), "with its fields");
    struct rusage used;
    is(wait4(child, NULL, 0, &used), child, "wait4");
    // Linux samples what runs at each tick here, and says what it measured in wait4: nothing holds between the two.
    ok(!on_spork() || (seen[2].si_utime == hundredths(used.ru_utime) &&
                       seen[2].si_stime == hundredths(used.ru_stime)),
       "and the time used, in hundredths of a second");
    ok(used.ru_utime.tv_usec + used.ru_stime.tv_usec >= 150000 || used.ru_utime.tv_sec > 0,
       "with the time used");

    action.sa_flags |= SA_NOCLDSTOP;
    need(sigaction(SIGCHLD, &action, NULL) == 0);
    seen_count = 0;
    child = spawn(hold, &gate);
    need(kill(child, SIGSTOP) == 0 && waitpid(child, NULL, WUNTRACED) == child);
    need(kill(child, SIGCONT) == 0 && waitpid(child, NULL, WCONTINUED) == child);
    is(seen_count, 0, "with SA_NOCLDSTOP neither sends one");
    need(kill(child, SIGKILL) == 0);
    ok(eventually(seen_count == 1), "the end does");
    ok(last_is(CLD_KILLED, child, SIGKILL), "killed");
    reap(child);
}

// ---- What was used ---------------------------------------------------------------------------

enum { PAGES = 300 };
static void touch_pages(void* arg) {
    char* p = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(p != MAP_FAILED);
    madvise(p, PAGES * 4096, 15); // MADV_NOHUGEPAGE: a fault for each
    for (int i = 0; i < PAGES; i++)
        ((volatile char*)p)[i * 4096] = 1;
    (void)arg;
}

static void usage(void) {
    struct rusage used, children, before;
    need(getrusage(RUSAGE_CHILDREN, &before) == 0);
    pid_t child = spawn(touch_pages, NULL);
    is(syscall(SYS_waitid, P_PID, child, &info, WEXITED | WNOWAIT, &used), 0,
       "waitid gives the rusage, too");
    ok(used.ru_minflt >= PAGES, "its page faults: at least one for each page");
    ok(used.ru_minflt < PAGES + 500, "and not many more");
    // Linux counts in lots, and may be some pages behind.
    ok(used.ru_maxrss >= PAGES * 2, "its resident pages, in kilobytes");
    need(getrusage(RUSAGE_CHILDREN, &children) == 0);
    is(children.ru_minflt, before.ru_minflt, "children that were not waited for do not count");
    is(wait4(child, NULL, 0, &used), child, "wait4");
    ok(used.ru_minflt >= PAGES, "its page faults");
    need(getrusage(RUSAGE_CHILDREN, &children) == 0);
    ok(children.ru_minflt >= before.ru_minflt + PAGES, "now they do");
    need(getrusage(RUSAGE_SELF, &before) == 0);
    touch_pages(NULL);
    need(getrusage(RUSAGE_SELF, &used) == 0);
    ok(used.ru_minflt >= before.ru_minflt + PAGES, "RUSAGE_SELF counts its own");
    is_errno(getrusage(77, &used), EINVAL, "somebody else");
}

// ---- Orphans ---------------------------------------------------------------------------------

static void make_orphan(void* gate) {
    if (fork() == 0) {
        gate_pass(gate);
        _exit(11);
    }
    _exit(0);
}

static void subreaper(void) {
    int is_one = 5;
    need(prctl(PR_GET_CHILD_SUBREAPER, &is_one) == 0);
    is(is_one, 0, "not a subreaper by birth");
    is(prctl(PR_SET_CHILD_SUBREAPER, 1), 0, "becoming one");
    need(prctl(PR_GET_CHILD_SUBREAPER, &is_one) == 0);
    is(is_one, 1, "it says so");
    struct gate gate = gate_make();
    pid_t middle = spawn(make_orphan, &gate);
    is_exit(reap(middle), 0, "the parent in the middle has ended");
    gate_open(&gate);
    int status;
    pid_t orphan = wait(&status);
    ok(orphan > 0 && orphan != middle, "the grandchild is ours");
    is_exit(status, 11, "with its status");
    is(prctl(PR_SET_CHILD_SUBREAPER, 0), 0, "and no more");
    need(prctl(PR_GET_CHILD_SUBREAPER, &is_one) == 0);
    is(is_one, 0, "it says so");
}

static void say_own(void* unused) {
    int is_one = 5;
    (void)unused;
    need(prctl(PR_GET_CHILD_SUBREAPER, &is_one) == 0);
    _exit(is_one);
}

static void subreaper_inheritance(void) {
    need(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    is_exit(status_of(say_own, NULL), 0, "a child is none");
}

static int told[2];
static void die_with_parent(void* arg) {
    struct gate* gates = arg;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (fork() == 0) {
        need(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
        int signo = 0;
        need(prctl(PR_GET_PDEATHSIG, &signo) == 0 && signo == SIGUSR1);
        pid_t parent = getppid();
        gate_open(&gates[0]);
        siginfo_t i;
        int got = sigtimedwait(&set, &i, &(struct timespec){30, 0});
        int right =
            got == SIGUSR1 && i.si_pid == parent && i.si_code == SI_USER && getppid() != parent;
        // A child of its own does not inherit the wish.
        pid_t child = fork();
        if (child == 0) {
            prctl(PR_GET_PDEATHSIG, &signo);
            _exit(signo);
        }
        right = right && exited_with(reap(child), 0);
        need(write(told[1], &right, sizeof right) == sizeof right);
        _exit(0);
    }
    gate_pass(&gates[0]);
    _exit(0);
}

static void parent_death(void) {
    struct gate gates[1] = {gate_make()};
    need(pipe(told) == 0);
    need(exited_with(status_of(die_with_parent, gates), 0));
    int right = 0;
    need(read(told[0], &right, sizeof right) == sizeof right);
    ok(right, "PR_SET_PDEATHSIG: the signal comes when the parent ends");
    is_errno(prctl(PR_SET_PDEATHSIG, 65), EINVAL, "no such signal");
}

int main(void) {
    subtest("news, left and taken", news);
    subtest("killed", killed);
    subtest("errors", errors);
    subtest("SIGCHLD", sigchld);
    subtest("what was used", usage);
    subtest("subreapers", subreaper);
    subtest("subreapers are not inherited", subreaper_inheritance);
    subtest("PR_SET_PDEATHSIG", parent_death);
    return done();
}

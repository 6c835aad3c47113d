// wait4 and its kin: which child, when, and with what status; and what becomes of orphans.
#include "../lib/proc.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static void die(void* how) {
    int n = *(int*)how;
    if (n < 0)
        kill(getpid(), -n);
    _exit(n);
}

static void hold(void* gate) { gate_pass(gate); }

static void statuses(void) {
    static int codes[] = {0, 1, 7, 127, 128, 255};
    for (int i = 0; i < 6; i++)
        is_exit(status_of(die, &codes[i]), codes[i], "exit status %d", codes[i]);
    int more = 256 + 3;
    is_exit(status_of(die, &more), 3, "only its low eight bits arrive");
    static const int signals[] = {SIGHUP, SIGINT, SIGKILL, SIGTERM, SIGPIPE, SIGUSR1, SIGALRM};
    for (int i = 0; i < 7; i++) {
        int how = -signals[i];
        is(status_of(die, &how), signals[i], "killed by signal %d", signals[i]);
    }
}

// Where there is none: the process is not dumpable, nor may there be a file of it.
static void die_without_core(void* signo) {
    need(prctl(PR_SET_DUMPABLE, 0) == 0);
    need(setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) == 0);
    raise(*(int*)signo);
}

static void core_dumps(void) {
    static const int signals[] = {SIGQUIT, SIGILL, SIGABRT, SIGFPE,
                                  SIGSEGV, SIGBUS, SIGSYS,  SIGTRAP};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        int signo = signals[i];
        is(status_of(die_without_core, &signo), signo, "no WCOREDUMP without a core");
        siginfo_t info;
        pid_t child = spawn(die_without_core, &signo);
        need(waitid(P_PID, (id_t)child, &info, WEXITED) == 0);
        ok(info.si_code == CLD_KILLED && info.si_status == signo, "nor CLD_DUMPED");
    }
}

static void no_children(void) {
    is_errno(waitpid(-1, NULL, 0), ECHILD, "no child at all");
    is_errno(waitpid(-1, NULL, WNOHANG), ECHILD, "with WNOHANG too");
    is_errno(waitpid(getpid(), NULL, 0), ECHILD, "oneself");
    is_errno(waitpid(getppid(), NULL, 0), ECHILD, "the parent");
    is_errno(waitpid(-1, NULL, 0x1000), EINVAL, "an option that is none");
    struct gate gate = gate_make();
    pid_t child = spawn(hold, &gate);
    is_errno(waitpid(child + 1, NULL, WNOHANG), ECHILD, "another process than the child");
    is_errno(waitpid(-0x3ffffffe, NULL, WNOHANG), ECHILD, "a group with no child in it");
    gate_open(&gate);
    is(waitpid(child, NULL, 0), child, "the child");
    is_errno(waitpid(child, NULL, 0), ECHILD, "the child once more");
}

static void no_hang(void) {
    struct gate gate = gate_make();
    pid_t child = spawn(hold, &gate);
    int status = 0x5a5a;
    is(waitpid(child, &status, WNOHANG), 0, "WNOHANG while the child runs");
    is(status, 0x5a5a, "leaves the status alone");
    gate_open(&gate);
    ok(eventually(waitpid(child, &status, WNOHANG) == child), "and finds it when it has ended");
    is_exit(status, 0, "with its status");
}

static void any_and_one(void) {
    struct gate gate[3] = {gate_make(), gate_make(), gate_make()};
    pid_t child[3];
    for (int i = 0; i < 3; i++)
        child[i] = spawn(hold, &gate[i]);
    gate_open(&gate[1]);
    is(waitpid(-1, NULL, 0), child[1], "any child: the one that has ended");
    gate_open(&gate[2]);
    is(waitpid(child[2], NULL, 0), child[2], "one child");
    gate_open(&gate[0]);
    is(wait(NULL), child[0], "the last one");
}

static void groups(void) {
    struct gate gate = gate_make();
    pid_t other = spawn(hold, &gate);
    need(setpgid(other, other) == 0);
    pid_t same = spawn(hold, &gate);
    is(waitpid(0, NULL, WNOHANG), 0, "a child in our group runs");
    is(waitpid(-other, NULL, WNOHANG), 0, "a child in the other group runs");
    gate_open(&gate);
    gate_open(&gate);
    is(waitpid(-other, NULL, 0), other, "waiting for a group finds its member");
    is_errno(waitpid(-other, NULL, 0), ECHILD, "and no other child");
    is(waitpid(0, NULL, 0), same, "0 is the caller's own group");
}

static void stop_and_continue(void) {
    struct gate gate = gate_make();
    pid_t child = spawn(hold, &gate);
    int status = 0;
    need(kill(child, SIGSTOP) == 0);
    is(waitpid(child, &status, WUNTRACED), child, "WUNTRACED finds the stopped child");
    ok(WIFSTOPPED(status), "as stopped");
    is(WSTOPSIG(status), SIGSTOP, "by SIGSTOP");
    is(waitpid(child, &status, WUNTRACED | WNOHANG), 0, "once");
    need(kill(child, SIGCONT) == 0);
    is(waitpid(child, &status, WCONTINUED), child, "WCONTINUED finds it continued");
    ok(WIFCONTINUED(status), "as continued");
    is(waitpid(child, &status, WCONTINUED | WNOHANG), 0, "once");

    int at_once = 0;
    for (int i = 0; i < 20; i++) {
        need(kill(child, SIGSTOP) == 0 && waitpid(child, &status, WUNTRACED) == child);
        need(kill(child, SIGCONT) == 0);
        at_once += waitpid(child, &status, WCONTINUED | WNOHANG) == child && WIFCONTINUED(status);
    }
    is(at_once, 20, "a child is continued as soon as SIGCONT is sent");
    need(kill(child, SIGSTOP) == 0 && waitpid(child, &status, WUNTRACED) == child);
    need(kill(child, SIGCONT) == 0 && kill(child, SIGSTOP) == 0);
    is(waitpid(child, &status, WUNTRACED), child, "stopped again, it is stopped");
    is(waitpid(child, &status, WCONTINUED | WNOHANG), 0, "and nothing else");
    need(kill(child, SIGCONT) == 0 && waitpid(child, &status, WCONTINUED) == child);

    need(kill(child, SIGTSTP) == 0);
    is(waitpid(child, &status, WUNTRACED), child, "SIGTSTP stops too");
    is(WSTOPSIG(status), SIGTSTP, "and is told");
    gate_open(&gate);
    is(waitpid(child, &status, WNOHANG), 0, "a stopped child does not go on");
    need(kill(child, SIGKILL) == 0);
    is(waitpid(child, &status, 0), child, "SIGKILL kills a stopped child");
    is_killed(status, SIGKILL, "and is told");
}

static void zombies(void) {
    int how = 5;
    pid_t child = spawn(die, &how);
    ok(eventually(proc_state(child) == 'Z'), "a child that has ended and not been waited for is Z");
    is(kill(child, 0), 0, "it can still be signalled");
    is(kill(child, SIGKILL), 0, "to no effect");
    is_exit(reap(child), 5, "its status is there");
    is_errno(kill(child, 0), ESRCH, "then it is gone");
    is(proc_state(child), 0, "from /proc too");
}

static void reparenting(void) {
    int report[2];
    struct gate gate = gate_make(), looked = gate_make();
    need(pipe(report) == 0);
    pid_t middle = fork();
    need(middle >= 0);
    if (middle == 0) {
        pid_t parent = getpid();
        if (fork() == 0) {
            bool before = getppid() == parent;
            gate_open(&looked);
            gate_pass(&gate);
            pid_t after = eventually(getppid() != parent) ? getppid() : -1;
            pid_t result[2] = {before, after};
            need(write(report[1], result, sizeof result) == sizeof result);
            _exit(0);
        }
        gate_pass(&looked);
        _exit(3);
    }
    is_exit(reap(middle), 3, "the parent in the middle has ended");
    gate_open(&gate);
    pid_t result[2] = {0, 0};
    need(read(report[0], result, sizeof result) == sizeof result);
    ok(result[0], "its child had it as parent");
    ok(result[1] > 0 && result[1] != getpid(), "and then another one, not its grandparent");
    is_errno(wait(NULL), ECHILD, "to which it is no child");
}

static volatile sig_atomic_t children_heard_of;
static void note_child(int signo) {
    (void)signo;
    children_heard_of++;
}

// A parent that ignores SIGCHLD has no zombies; its wait sees the last child out.
static void ignored_children(void) {
    int how = 5;
    signal(SIGCHLD, SIG_IGN);
    struct gate gate = gate_make();
    pid_t first = spawn(die, &how);
    spawn(hold, &gate);
    ok(eventually(kill(first, 0) == -1 && errno == ESRCH), "a child that ends is gone at once");
    gate_open(&gate);
    is_errno(waitpid(-1, NULL, 0), ECHILD, "wait waits for them all and has none");

    struct sigaction action = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
    need(sigaction(SIGCHLD, &action, NULL) == 0);
    spawn(die, &how);
    is_errno(wait(NULL), ECHILD, "so it is with SA_NOCLDWAIT");
    action.sa_handler = note_child;
    need(sigaction(SIGCHLD, &action, NULL) == 0);
    spawn(die, &how);
    while (wait(NULL) >= 0 || errno == EINTR)
        ;
    is(children_heard_of, 1, "whose handler hears of it all the same");
}

static void usage(void) {
    struct rusage used;
    int status, how = 9;
    memset(&used, 0xff, sizeof used);
    pid_t child = spawn(die, &how);
    is(wait4(child, &status, 0, &used), child, "wait4 with a rusage");
    is_exit(status, 9, "its status");
    ok(used.ru_utime.tv_sec >= 0 && used.ru_utime.tv_sec < 60 && used.ru_utime.tv_usec < 1000000,
       "a sane user time");
    ok(used.ru_minflt >= 0 && used.ru_majflt >= 0, "sane fault counts");
}

static void many(void) {
    enum { CHILDREN = 60 };
    pid_t child[CHILDREN];
    int how[CHILDREN], wrong = 0;
    for (int i = 0; i < CHILDREN; i++) {
        how[i] = i;
        child[i] = spawn(die, &how[i]);
    }
    for (int n = 0; n < CHILDREN; n++) {
        int status, i = 0;
        pid_t pid = wait(&status);
        while (i < CHILDREN && child[i] != pid)
            i++;
        wrong += i == CHILDREN || !exited_with(status, i);
    }
    is(wrong, 0, "%d children, each with its own status", CHILDREN);
}

// More children than the kernel looks at in one go, some of which are gone before it goes on.
enum { CROWD = 200 };
static pid_t crowd[CROWD];
static struct gate others, last;

static void* wait_for_the_group(void* unused) {
    (void)unused;
    return (void*)(intptr_t)waitpid(-crowd[CROWD - 1], NULL, 0);
}

static void* wait_for_others(void* every_second) {
    intptr_t waited_for = 0;
    for (int i = CROWD - 2 - (every_second != NULL); i >= 0; i -= 2)
        waited_for += waitpid(crowd[i], NULL, 0) == crowd[i];
    return (void*)waited_for;
}

static void a_crowd(void) {
    pthread_t for_the_group, even, odd;
    void *answer, *evens, *odds;
    others = gate_make();
    last = gate_make();
    for (int i = 0; i < CROWD; i++)
        crowd[i] = spawn(hold, i < CROWD - 1 ? &others : &last);
    const pid_t alone = crowd[CROWD - 1];
    need(setpgid(alone, alone) == 0);
    is(waitpid(-alone, NULL, WNOHANG), 0, "the group of one child of %d", CROWD);
    is_errno(waitpid(-1, NULL, WNOHANG | (int)__WCLONE), ECHILD, "none of them is a clone");
    need(pthread_create(&for_the_group, NULL, wait_for_the_group, NULL) == 0);
    need(pthread_create(&even, NULL, wait_for_others, NULL) == 0);
    need(pthread_create(&odd, NULL, wait_for_others, &last) == 0);
    for (int i = 0; i < CROWD - 1; i++)
        gate_open(&others);
    need(pthread_join(even, &evens) == 0 && pthread_join(odd, &odds) == 0);
    is((intptr_t)evens + (intptr_t)odds, CROWD - 1, "two threads wait for the others, last first");
    gate_open(&last);
    need(pthread_join(for_the_group, &answer) == 0);
    is((intptr_t)answer, alone, "a third waits for the group, and gets its child");
}

int main(void) {
    subtest("statuses", statuses);
    subtest("no core", core_dumps);
    subtest("nobody to wait for", no_children);
    subtest("WNOHANG", no_hang);
    subtest("any child or one", any_and_one);
    subtest("process groups", groups);
    subtest("stopped and continued", stop_and_continue);
    subtest("zombies", zombies);
    subtest("orphans get a new parent", reparenting);
    subtest("children that are ignored", ignored_children);
    subtest("resource usage", usage);
    subtest("many at once", many);
    subtest("a crowd", a_crowd);
    return done();
}

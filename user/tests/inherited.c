// What a child and a new program have of their process, in one table: for fork, for clone with
// CLONE_VM, which is no fork to the alternate stack, for vfork, and for execve.
#include "../lib/proc.h"

#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>

enum { OPEN = 50, OPEN_TILL_EXEC, REPORT };
enum { ARCH_SET_GS = 0x1001, ARCH_GET_GS = 0x1004 };
enum { KEPT_ID = 0 };

static char stack_memory[65536], child_stack[65536] __attribute__((aligned(16)));
static long robust_head[3] = {(long)robust_head, 0, 0};

static void nothing(int signo) { (void)signo; }
static sigset_t usr1(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    return set;
}

// ---- Setting, and what is there: 0 is what a process has that nobody has changed. --------------

static void set_no_new_privs(void) { need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0); }
static long no_new_privs(void) { return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); }

static void set_undumpable(void) { need(prctl(PR_SET_DUMPABLE, 0) == 0); }
static long undumpable(void) { return prctl(PR_GET_DUMPABLE) == 0; }

static void set_stack(void) {
    need(sigaltstack(&(stack_t){.ss_sp = stack_memory, .ss_size = sizeof stack_memory}, NULL) == 0);
}
static long alternate_stack(void) {
    stack_t s;
    need(sigaltstack(NULL, &s) == 0);
    return s.ss_flags & SS_DISABLE ? 0 : s.ss_sp == stack_memory;
}

static void set_mask(void) {
    sigset_t set = usr1();
    need(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
}
static long mask(void) {
    sigset_t set;
    need(sigprocmask(SIG_BLOCK, NULL, &set) == 0);
    return sigismember(&set, SIGUSR1);
}

static void set_pending(void) { need(syscall(SYS_kill, getpid(), SIGUSR1) == 0); }
static long pending(void) {
    sigset_t set;
    need(sigpending(&set) == 0);
    return sigismember(&set, SIGUSR1);
}

static void set_ignored(void) { need(signal(SIGUSR2, SIG_IGN) != SIG_ERR); }
static long ignored(void) {
    struct sigaction a;
    need(sigaction(SIGUSR2, NULL, &a) == 0);
    return a.sa_handler == SIG_IGN;
}

static void set_handler(void) { need(signal(SIGWINCH, nothing) != SIG_ERR); }
static long handler(void) {
    struct sigaction a;
    need(sigaction(SIGWINCH, NULL, &a) == 0);
    return a.sa_handler != SIG_DFL;
}

static void set_itimer(void) {
    need(setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {10000, 0}}, NULL) == 0);
}
static long itimer(void) {
    struct itimerval t;
    need(getitimer(ITIMER_REAL, &t) == 0);
    return t.it_value.tv_sec != 0;
}

static void set_timer(void) {
    int id = -1;
    need(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &id) == 0 && id == KEPT_ID);
}
static long timer(void) {
    struct itimerspec t;
    return syscall(SYS_timer_gettime, KEPT_ID, &t) == 0;
}

static void set_death_signal(void) { need(prctl(PR_SET_PDEATHSIG, SIGUSR2) == 0); }
static long death_signal(void) {
    int signo = -1;
    need(prctl(PR_GET_PDEATHSIG, &signo) == 0);
    return signo == SIGUSR2;
}

static void set_subreaper(void) { need(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0); }
static long subreaper(void) {
    int is = -1;
    need(prctl(PR_GET_CHILD_SUBREAPER, &is) == 0);
    return is;
}

static void set_slack(void) { need(prctl(PR_SET_TIMERSLACK, 70000) == 0); }
static long slack(void) { return prctl(PR_GET_TIMERSLACK) == 70000; }

static void set_name(void) { need(prctl(PR_SET_NAME, "renamed") == 0); }
static long name(void) {
    char is[16] = "";
    need(prctl(PR_GET_NAME, is) == 0);
    return strcmp(is, "renamed") == 0;
}

static void set_score(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    need(fd >= 0 && write(fd, "300", 3) == 3);
    close(fd);
}
static long score(void) {
    char text[16] = "";
    int fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
    need(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    return atoi(text) == 300;
}

static void set_nice(void) { need(setpriority(PRIO_PROCESS, 0, 15) == 0); }
static long niceness(void) { return getpriority(PRIO_PROCESS, 0) == 15; }

static void set_umask(void) { umask(0713); }
static long its_umask(void) {
    mode_t is = umask(0);
    umask(is);
    return is == 0713;
}

static void set_limit(void) {
    struct rlimit r;
    need(getrlimit(RLIMIT_NOFILE, &r) == 0);
    r.rlim_cur = 77;
    need(setrlimit(RLIMIT_NOFILE, &r) == 0);
}
static long limit(void) {
    struct rlimit r;
    need(getrlimit(RLIMIT_NOFILE, &r) == 0);
    return r.rlim_cur == 77;
}

static void set_directory(void) { need(chdir("/proc") == 0); }
static long directory(void) {
    char is[64];
    need(getcwd(is, sizeof is) != NULL);
    return strcmp(is, "/proc") == 0;
}

static void set_affinity(void) {
    cpu_set_t one;
    need(sched_getaffinity(0, sizeof one, &one) == 0);
    for (int i = 0, found = 0; i < CPU_SETSIZE; i++) {
        if (found)
            CPU_CLR(i, &one);
        found |= CPU_ISSET(i, &one);
    }
    need(sched_setaffinity(0, sizeof one, &one) == 0);
}
static long affinity(void) {
    cpu_set_t is;
    need(sched_getaffinity(0, sizeof is, &is) == 0);
    return CPU_COUNT(&is) == 1;
}

static void set_robust(void) {
    need(syscall(SYS_set_robust_list, robust_head, sizeof robust_head) == 0);
}
static long robust(void) {
    long* head;
    size_t size;
    need(syscall(SYS_get_robust_list, 0, &head, &size) == 0);
    return head == robust_head;
}

static void set_rounding(void) { __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x2000); }
static long rounding(void) { return (__builtin_ia32_stmxcsr() & 0x6000) == 0x2000; }

static void set_gs(void) { need(syscall(SYS_arch_prctl, ARCH_SET_GS, 0x123450) == 0); }
static long gs(void) {
    long base = -1;
    need(syscall(SYS_arch_prctl, ARCH_GET_GS, &base) == 0);
    return base == 0x123450;
}

static void set_descriptors(void) {
    int fd = open("/", O_RDONLY | O_CLOEXEC);
    need(fd >= 0 && dup2(fd, OPEN) == OPEN && dup3(fd, OPEN_TILL_EXEC, O_CLOEXEC) >= 0);
    close(fd);
}
static long descriptor(void) { return fcntl(OPEN, F_GETFD) == 0; }
static long closed_by_exec(void) { return fcntl(OPEN_TILL_EXEC, F_GETFD) == FD_CLOEXEC; }

static const struct row {
    const char* what;
    void (*set)(void); // null: the row before has set this, too
    long (*get)(void);
    bool fork, clone_vm, vfork, exec; // who has it
} table[] = {
    {"oom_score_adj", set_score, score, 1, 1, 1, 1},
    {"no_new_privs", set_no_new_privs, no_new_privs, 1, 1, 1, 1},
    {"not dumpable", set_undumpable, undumpable, 1, 1, 1, 0},
    {"the alternate signal stack", set_stack, alternate_stack, 1, 0, 1, 0},
    {"the signal mask", set_mask, mask, 1, 1, 1, 1},
    {"a pending signal", set_pending, pending, 0, 0, 0, 1},
    {"an ignored signal", set_ignored, ignored, 1, 1, 1, 1},
    {"a handler", set_handler, handler, 1, 1, 1, 0},
    {"the interval timer", set_itimer, itimer, 0, 0, 0, 1},
    {"a POSIX timer", set_timer, timer, 0, 0, 0, 0},
    {"PR_SET_PDEATHSIG", set_death_signal, death_signal, 0, 0, 0, 1},
    {"being a subreaper", set_subreaper, subreaper, 0, 0, 0, 1},
    {"the timer slack", set_slack, slack, 1, 1, 1, 1},
    {"the name", set_name, name, 1, 1, 1, 0},
    {"the niceness", set_nice, niceness, 1, 1, 1, 1},
    {"the umask", set_umask, its_umask, 1, 1, 1, 1},
    {"a limit", set_limit, limit, 1, 1, 1, 1},
    {"the directory", set_directory, directory, 1, 1, 1, 1},
    {"the processors", set_affinity, affinity, 1, 1, 1, 1},
    {"the robust list", set_robust, robust, 0, 0, 0, 0},
    {"the rounding of SSE", set_rounding, rounding, 1, 1, 1, 0},
    {"the base of GS", set_gs, gs, 1, 1, 1, 0},
    {"a descriptor", set_descriptors, descriptor, 1, 1, 1, 1},
    {"a close-on-exec descriptor", NULL, closed_by_exec, 1, 1, 1, 0},
};
enum { ROWS = sizeof table / sizeof *table };

static const char* self;
static long* found; // shared with all children

static void look(long* into) {
    for (int i = 0; i < ROWS; i++)
        into[i] = table[i].get();
}

static void set_all(void) {
    for (int i = 0; i < ROWS; i++)
        if (table[i].set)
            table[i].set();
    long own[ROWS];
    look(own);
    for (int i = 0; i < ROWS; i++)
        if (!own[i])
            diag("not set: %s", table[i].what);
}

static int look_and_end(void* unused) {
    (void)unused;
    look(found);
    _exit(0);
}

static void compare(const char* who, size_t column) {
    for (int i = 0; i < ROWS; i++) {
        const bool want = *(const bool*)((const char*)&table[i] + column);
        is(found[i], want, "%s: %s", who, table[i].what);
    }
}

static void children(void) {
    set_all();
    pid_t child = fork();
    if (child == 0)
        look_and_end(NULL);
    need(exited_with(reap(child), 0));
    compare("fork", offsetof(struct row, fork));
    child = clone(look_and_end, child_stack + sizeof child_stack, CLONE_VM | SIGCHLD, NULL);
    need(child > 0 && exited_with(reap(child), 0));
    compare("clone", offsetof(struct row, clone_vm));
    child = vfork();
    if (child == 0)
        look_and_end(NULL);
    need(exited_with(reap(child), 0));
    compare("vfork", offsetof(struct row, vfork));
}

static void set_and_exec(void* to) {
    set_all();
    need(dup2(*(int*)to, REPORT) == REPORT);
    execl(self, "x", "report", NULL);
}

static void new_program(void) {
    int ends[2];
    need(pipe2(ends, O_CLOEXEC) == 0);
    int status = status_of(set_and_exec, &ends[1]);
    need(exited_with(status, 0));
    need(read(ends[0], found, ROWS * sizeof *found) == ROWS * sizeof *found);
    compare("execve", offsetof(struct row, exec));
}

// The new program has descriptors of its own; what it closes of them stays open to the others.
static void exec_with_shared_descriptors(void) {
    set_descriptors();
    int ends[2];
    need(pipe2(ends, O_CLOEXEC) == 0 && dup2(ends[1], REPORT) == REPORT);
    long child = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
    if (child == 0) {
        execl(self, "x", "report", NULL);
        _exit(99);
    }
    need(exited_with(reap((pid_t)child), 0));
    ok(descriptor(), "a descriptor is still open");
    ok(closed_by_exec(), "and so is one that the other's exec has closed for itself");
}

int main(int argc, char** argv) {
    if (argc == 2 && strcmp(argv[1], "report") == 0) {
        long rows[ROWS];
        look(rows);
        return write(REPORT, rows, sizeof rows) == sizeof rows ? 0 : 98;
    }
    self = strdup(self_path(argv[0]));
    found =
        mmap(NULL, ROWS * sizeof *found, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(found != MAP_FAILED);
    subtest("children", children);
    subtest("a new program", new_program);
    subtest("exec with shared descriptors", exec_with_shared_descriptors);
    return done();
}

// clone and clone3: what every flag asks for, which combinations are refused and with what errno,
// and what clone3 wants of its structure.
#include "../lib/clone.h"
#include "../lib/proc.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ull
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ull
#endif

struct args3 {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
        set_tid_size, cgroup;
};

enum { STACK = 65536 };
static char stack[STACK] __attribute__((aligned(16)));

static long clone3_raw(const void* args, size_t size) { return syscall(SYS_clone3, args, size); }

static int at_once(void* arg) {
    (void)arg;
    return 0;
}

// The errno of a clone that is refused. A child that is made by mistake ends at once.
static int clone_errno(unsigned long flags) {
    long child = clone_call(flags, stack + STACK, at_once, NULL);
    if (child > 0 && !(flags & CLONE_THREAD))
        waitpid((pid_t)child, NULL, __WALL);
    return child < 0 ? (int)-child : 0;
}

static int clone3_errno(struct args3 args) {
    long child = clone3_raw(&args, sizeof args);
    if (child == 0)
        _exit(0);
    int error = child < 0 ? errno : 0;
    if (child > 0)
        waitpid((pid_t)child, NULL, __WALL);
    return error;
}

static void refused(void) {
    const struct {
        unsigned long flags;
        int want;
        const char* what;
    } cases[] = {
        {CLONE_SIGHAND, EINVAL, "SIGHAND without VM"},
        {CLONE_THREAD | CLONE_SIGHAND, EINVAL, "THREAD, SIGHAND without VM"},
        {CLONE_THREAD | CLONE_VM, EINVAL, "THREAD without SIGHAND"},
        {CLONE_THREAD, EINVAL, "THREAD alone"},
        {CLONE_NEWNS | CLONE_FS, EINVAL, "NEWNS with FS"},
        {CLONE_NEWUSER | CLONE_FS, EINVAL, "NEWUSER with FS"},
        {CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_NEWPID, EINVAL, "THREAD with NEWPID"},
        {CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_NEWUSER, EINVAL, "THREAD with NEWUSER"},
        {CLONE_PIDFD | CLONE_DETACHED, EINVAL, "PIDFD with DETACHED"},
        {CLONE_PIDFD | CLONE_PARENT_SETTID, EINVAL, "clone's PIDFD with PARENT_SETTID"},
    };
    const unsigned long spaces = CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (cases[i].flags & spaces && clone_is_filtered())
            skip("%s: a filter answers", cases[i].what);
        else
            is(clone_errno(cases[i].flags | SIGCHLD), cases[i].want, "%s", cases[i].what);
}

static void without_rights(void* arg) {
    drop_root();
    static const unsigned long spaces[] = {CLONE_NEWNS,  CLONE_NEWCGROUP, CLONE_NEWUTS,
                                           CLONE_NEWIPC, CLONE_NEWPID,    CLONE_NEWNET};
    for (size_t i = 0; i < sizeof spaces / sizeof spaces[0]; i++)
        if (clone_errno(spaces[i] | SIGCHLD) != EPERM)
            _exit((int)i + 1);
    (void)arg;
}

static void name_spaces(void) {
    is_exit(status_of(without_rights, NULL), 0, "without rights each new name space is EPERM");
}

// Flags that are allowed and change nothing that this program could see.
static void accepted(void) {
    is(clone_errno(CLONE_SYSVSEM | SIGCHLD), 0, "SYSVSEM");
    is(clone_errno(CLONE_DETACHED | SIGCHLD), 0, "DETACHED, which means nothing any more");
    is(clone_errno(CLONE_IO | SIGCHLD), 0, "IO");
    is(clone_errno(CLONE_VM | CLONE_VFORK | SIGCHLD), 0, "VM, VFORK");
    is(clone_errno(CLONE_VFORK | SIGCHLD), 0, "VFORK without VM");
    is(clone_errno(0), 0, "no exit signal");
    is(clone_errno(200), 0, "clone takes an exit signal that is none, and sends nothing");
}

static void structure(void) {
    struct args3 plain = {.exit_signal = SIGCHLD};
    struct {
        struct args3 known;
        uint64_t unknown[4];
    } longer = {.known = plain};
    is_errno(clone3_raw(&plain, 63), EINVAL, "a structure shorter than the first version");
    is_errno(clone3_raw(&plain, 0), EINVAL, "no structure");
    is_errno(clone3_raw(&plain, 4097), E2BIG, "one over a page long");
    is_errno(clone3_raw((void*)8, 88), EFAULT, "one that is not there");
    for (size_t size = 64; size <= sizeof longer; size += 8) {
        long child = clone3_raw(&longer, size);
        if (child == 0)
            _exit(9);
        need(child > 0);
        need(exited_with(reap((pid_t)child), 9));
    }
    ok(true, "each version of it, and a longer one whose rest is zero");
    longer.unknown[2] = 1;
    is_errno(clone3_raw(&longer, sizeof longer), E2BIG, "a longer one that asks for something");
}

static void fields(void) {
    const uint64_t low = (uint64_t)stack;
    const struct {
        struct args3 args;
        int want;
        const char* what;
    } cases[] = {
        {{.flags = SIGCHLD}, EINVAL, "an exit signal among the flags"},
        {{.flags = CLONE_DETACHED, .exit_signal = SIGCHLD}, EINVAL, "DETACHED"},
        {{.flags = CLONE_VM | CLONE_SIGHAND | CLONE_CLEAR_SIGHAND,
          .stack = low,
          .stack_size = STACK},
         EINVAL,
         "CLEAR_SIGHAND with SIGHAND"},
        {{.flags = 1ull << 34, .exit_signal = SIGCHLD}, EINVAL, "a flag that is none"},
        {{.flags = 1ull << 63, .exit_signal = SIGCHLD}, EINVAL, "another one"},
        {{.exit_signal = 65}, EINVAL, "an exit signal that is none"},
        {{.exit_signal = 256}, EINVAL, "one of more than a byte"},
        {{.exit_signal = 1ull << 32 | SIGCHLD}, EINVAL, "one of more than a word"},
        {{.flags = CLONE_PARENT, .exit_signal = SIGCHLD}, EINVAL, "PARENT with an exit signal"},
        {{.flags = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, .exit_signal = SIGCHLD},
         EINVAL,
         "THREAD with an exit signal"},
        {{.exit_signal = SIGCHLD, .stack = low}, EINVAL, "a stack without a size"},
        {{.exit_signal = SIGCHLD, .stack_size = STACK}, EINVAL, "a size without a stack"},
        {{.exit_signal = SIGCHLD, .stack = low, .stack_size = -low + 16},
         EINVAL,
         "a stack around the end of memory"},
        {{.exit_signal = SIGCHLD, .stack = 1ull << 47, .stack_size = 4096},
         EINVAL,
         "a stack in the kernel's half"},
        {{.exit_signal = SIGCHLD, .set_tid_size = 1}, EINVAL, "ids to set: a size alone"},
        {{.exit_signal = SIGCHLD, .set_tid = low}, EINVAL, "ids to set: an address alone"},
        {{.exit_signal = SIGCHLD, .set_tid = low, .set_tid_size = 33},
         EINVAL,
         "ids to set: more than there are levels"},
        {{.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = 1ull << 40},
         EINVAL,
         "a control group that is no descriptor"},
        {{.flags = CLONE_PIDFD, .exit_signal = SIGCHLD, .pidfd = 8}, EFAULT, "a bad pidfd address"},
        {{.flags = CLONE_SETTLS, .exit_signal = SIGCHLD, .tls = 1ull << 47},
         EPERM,
         "a thread pointer in the kernel's half"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        is(clone3_errno(cases[i].args), cases[i].want, "%s", cases[i].what);
}

// A refused clone leaves nothing: no child, and the next descriptor is the one it would have been.
static void no_trace(void) {
    int next = dup(0);
    close(next);
    struct args3 args = {.flags = CLONE_PIDFD, .exit_signal = SIGCHLD, .pidfd = 8};
    is_errno(clone3_raw(&args, sizeof args), EFAULT, "a pidfd that cannot be stored");
    is_errno(waitpid(-1, NULL, __WALL), ECHILD, "no child");
    int again = dup(0);
    is(again, next, "no descriptor");
    close(again);
}

// ---- What the flags do -----------------------------------------------------------------------

static volatile int got;
static void count(int signo) { got += signo; }

static void exit_signals(void) {
    struct sigaction action = {.sa_handler = count};
    need(sigaction(SIGUSR1, &action, NULL) == 0);
    need(sigaction(SIGCHLD, &action, NULL) == 0);
    got = 0;
    long child = syscall(SYS_clone, SIGUSR1, NULL, NULL, NULL, NULL);
    if (child == 0)
        _exit(1);
    need(eventually(got == SIGUSR1));
    ok(true, "the parent gets the exit signal that was asked for");
    is_errno(waitpid((pid_t)child, NULL, 0), ECHILD, "such a child is not for a plain wait");
    is(waitpid((pid_t)child, NULL, __WCLONE), child, "but for __WCLONE");
    got = 0;
    child = syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);
    if (child == 0)
        _exit(1);
    is(waitpid((pid_t)child, NULL, __WALL), child, "without one: __WALL");
    is(got, 0, "and no signal");
}

static volatile sig_atomic_t ended_as[NSIG];
static void note_end(int signo) { ended_as[signo]++; }

// Whoever gets an orphan did not choose its signal.
static void exit_signal_of_an_orphan(void) {
    struct sigaction action = {.sa_handler = note_end};
    need(sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGCHLD, &action, NULL) == 0);
    need(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    struct gate end = gate_make();
    pid_t parent = fork();
    if (parent == 0) {
        if (syscall(SYS_clone, SIGUSR1, NULL, NULL, NULL, NULL) == 0) {
            gate_pass(&end);
            _exit(3);
        }
        _exit(0);
    }
    is_exit(reap(parent), 0, "its parent ends");
    need(eventually(ended_as[SIGCHLD] == 1));
    gate_open(&end);
    int status;
    while (waitpid(-1, &status, 0) < 0)
        need(errno == EINTR);
    is_exit(status, 3, "an orphan is waited for as any child");
    is(ended_as[SIGCHLD], 2, "its end is a SIGCHLD");
    is(ended_as[SIGUSR1], 0, "and not the signal that its first parent asked for");
}

static const char* self;

static sigset_t end_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGCHLD);
    return set;
}

static int wait_for_signal(void) {
    const sigset_t set = end_signals();
    const struct timespec long_enough = {30, 0};
    return sigtimedwait(&set, NULL, &long_enough);
}

// A child asked to end with SIGUSR1; its parent then runs another program.
static void choose_and_exec(void* arg) {
    (void)arg;
    const sigset_t set = end_signals();
    int until_exec[2];
    need(sigprocmask(SIG_BLOCK, &set, NULL) == 0 && pipe2(until_exec, O_CLOEXEC) == 0);
    if (syscall(SYS_clone, SIGUSR1, NULL, NULL, NULL, NULL) == 0) {
        char byte;
        close(until_exec[1]);
        need(read(until_exec[0], &byte, 1) == 0);
        _exit(0);
    }
    execl(self, self, "wait", NULL);
}

static void exit_signal_and_exec(void) {
    is_exit(status_of(choose_and_exec, NULL), SIGCHLD,
            "a program gets SIGCHLD, whatever the one before it had chosen");
    const sigset_t set = end_signals();
    need(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    long child = syscall(SYS_clone, SIGUSR1, NULL, NULL, NULL, NULL);
    if (child == 0) {
        execl(self, self, "end", NULL);
        _exit(1);
    }
    is(wait_for_signal(), SIGCHLD, "a child that runs another program ends as all do");
    int status;
    is(waitpid((pid_t)child, &status, 0), child, "and is for a plain wait");
    is_exit(status, 0, "with its status");
}

// Becomes a sibling of the process that made it: a child of ours.
static int make_sibling(void* arg) {
    (void)arg;
    long child = clone_call(CLONE_PARENT | SIGUSR2, stack + STACK / 2, at_once, NULL);
    return child > 0 ? 0 : (int)-child;
}

static void parent(void) {
    long child = clone_call(SIGCHLD, stack + STACK, make_sibling, NULL);
    need(child > 0);
    need(exited_with(reap((pid_t)child), 0));
    int status;
    pid_t sibling = wait(&status); // of the kind that its maker was
    ok(sibling > 0 && sibling != child, "PARENT: the child is its maker's sibling");
    is_exit(status, 0, "with the exit signal that its maker has");
}

static void clear_handlers(void) {
    struct sigaction action = {.sa_handler = count};
    need(sigaction(SIGUSR1, &action, NULL) == 0);
    need(signal(SIGUSR2, SIG_IGN) != SIG_ERR);
    struct args3 args = {.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
    long child = clone3_raw(&args, sizeof args);
    need(child >= 0);
    if (child == 0) {
        struct sigaction caught, ignored;
        sigaction(SIGUSR1, NULL, &caught);
        sigaction(SIGUSR2, NULL, &ignored);
        _exit((caught.sa_handler != SIG_DFL) | (ignored.sa_handler != SIG_IGN) << 1);
    }
    is_exit(reap((pid_t)child), 0,
            "CLEAR_SIGHAND: what was caught is default, what was ignored stays");
    sigaction(SIGUSR1, NULL, &action);
    ok(action.sa_handler == count, "the caller's are as they were");
}

static void ids(void) {
    pid_t parent_tid = 0, child_tid = 0;
    int pidfd = -1;
    struct args3 args = {.flags = CLONE_PIDFD | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID,
                         .exit_signal = SIGCHLD,
                         .pidfd = (uint64_t)&pidfd,
                         .parent_tid = (uint64_t)&parent_tid,
                         .child_tid = (uint64_t)&child_tid};
    long child = clone3_raw(&args, sizeof args);
    need(child >= 0);
    if (child == 0)
        _exit(child_tid != getpid());
    is(parent_tid, child, "clone3: PARENT_SETTID and PIDFD at once: the id");
    ok(pidfd > 2 && fcntl(pidfd, F_GETFD) == FD_CLOEXEC, "and the descriptor");
    is_exit(reap((pid_t)child), 0, "CHILD_SETTID");
    args.pidfd = args.parent_tid;
    is_errno(clone3_raw(&args, sizeof args), EINVAL, "the two at one address");
}

// A pidfd that comes to nothing is at no time another thread's to see, who might close it and have
// the number for a file of its own.
static volatile int failing = 1, seen;
static int next_descriptor;

static void* look_for_descriptor(void* arg) {
    while (failing)
        seen += fcntl(next_descriptor, F_GETFD) >= 0;
    return arg;
}

static void pidfd_that_fails(void) {
    pthread_t thread;
    struct args3 args = {.flags = CLONE_PIDFD, .exit_signal = SIGCHLD, .pidfd = 8};
    next_descriptor = dup(STDIN_FILENO);
    need(next_descriptor >= 0 && close(next_descriptor) == 0);
    need(pthread_create(&thread, NULL, look_for_descriptor, NULL) == 0);
    for (int i = 0; i < 200; i++)
        need(clone3_raw(&args, sizeof args) == -1 && errno == EFAULT);
    failing = 0;
    pthread_join(thread, NULL);
    is(seen, 0, "a pidfd that cannot be stored is never open");
    is(dup(STDIN_FILENO), next_descriptor, "and its number is free");
}

int main(int argc, char** argv) {
    if (argc == 2)
        return strcmp(argv[1], "wait") == 0 ? wait_for_signal() : 0;
    self = strdup(self_path(argv[0]));
    subtest("combinations that are refused", refused);
    subtest("name spaces", name_spaces);
    subtest("flags without an effect", accepted);
    subtest("exit signals", exit_signals);
    subtest("exit signals and exec", exit_signal_and_exec);
    subtest("the exit signal of an orphan", exit_signal_of_an_orphan);
    subtest("CLONE_PARENT", parent);
    if (clone_is_filtered()) {
        skip("no clone3");
        return done();
    }
    subtest("clone3: the structure", structure);
    subtest("clone3: its fields", fields);
    subtest("a refused clone leaves no trace", no_trace);
    subtest("a pidfd that fails", pidfd_that_fails);
    subtest("CLONE_CLEAR_SIGHAND", clear_handlers);
    subtest("ids", ids);
    return done();
}

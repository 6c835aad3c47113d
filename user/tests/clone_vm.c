// clone(CLONE_VM) without CLONE_VFORK: two processes run at the same time in one address space.
// Each other flag says what else they share.
#include "../lib/clone.h"
#include "../lib/proc.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { STACK = 65536, TURNS = 2000 };

static char stack[STACK] __attribute__((aligned(16)));
static volatile int word;
static char* volatile mapped;
static char* self;

static pid_t start(unsigned long flags, int (*body)(void*), void* arg) {
    long child = clone_call(flags, stack + STACK, body, arg);
    need(child > 0);
    return (pid_t)child;
}

static int play(void* arg) {
    (void)arg;
    for (int turn = 0; turn < TURNS; turn++) {
        while (word != 2 * turn + 1)
            sched_yield();
        word = 2 * turn + 2;
    }
    return 7;
}

// Neither gets on without seeing the other's stores: they run at once, in the same memory.
static void both_run(void) {
    pid_t child = start(CLONE_VM | SIGCHLD, play, NULL);
    for (int turn = 0; turn < TURNS; turn++) {
        word = 2 * turn + 1;
        while (word != 2 * turn + 2)
            sched_yield();
    }
    is_exit(reap(child), 7, "%d turns of store and answer", TURNS);
}

static int map_page(void* arg) {
    char* page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)arg;
    if (page == MAP_FAILED)
        return 1;
    page[1] = 'p';
    mapped = page;
    return 0;
}

static void mappings(void) {
    is_exit(reap(start(CLONE_VM | SIGCHLD, map_page, NULL)), 0, "the child maps a page");
    is(mapped[1], 'p', "the parent has it");
    need(munmap(mapped, 4096) == 0);
}

static int exec_self(void* arg) {
    char* argv[] = {"child", "exit-42", NULL};
    (void)arg;
    execv(self, argv);
    return 1;
}

// Exec leaves the memory of those who share it alone.
static void exec_leaves_parent(void) {
    char* page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(page != MAP_FAILED);
    for (int round = 0; round < 10; round++) {
        page[0] = (char)round;
        word = round;
        need(exited_with(reap(start(CLONE_VM | SIGCHLD, exec_self, NULL)), 42));
        need(page[0] == (char)round && word == round);
    }
    ok(true, "after an exec in the child the parent's memory is whole");
}

static int fork_and_store(void* arg) {
    (void)arg;
    word = 10;
    pid_t copy = fork();
    if (copy == 0) {
        word = 99;
        _exit(word == 99 ? 0 : 1);
    }
    int status;
    if (copy < 0 || waitpid(copy, &status, 0) != copy || !exited_with(status, 0))
        return 1;
    return word == 10 ? 0 : 2;
}

static void fork_within(void) {
    word = 0;
    is_exit(reap(start(CLONE_VM | SIGCHLD, fork_and_store, NULL)), 0,
            "a fork by one of two who share copies for its child");
    is(word, 10, "the other sharer keeps the shared stores");
}

static int change_all(void* arg) {
    int* fd = arg;
    umask(017);
    if (chdir("/dev") != 0 || dup2(fd[0], fd[0] + 50) < 0)
        return 1;
    return 0;
}

static void what_flags_share(void) {
    static const struct {
        unsigned long flags;
        bool files, directory;
    } cases[] = {{0, false, false},
                 {CLONE_FILES, true, false},
                 {CLONE_FS, false, true},
                 {CLONE_FILES | CLONE_FS, true, true}};
    int fd[2];
    need(pipe(fd) == 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char where[PATH_MAX];
        need(chdir("/") == 0);
        umask(022);
        close(fd[0] + 50);
        is_exit(reap(start(CLONE_VM | cases[i].flags | SIGCHLD, change_all, fd)), 0, "flags 0x%lx",
                cases[i].flags);
        is(fcntl(fd[0] + 50, F_GETFD) != -1, cases[i].files, "descriptors %s",
           cases[i].files ? "shared" : "copied");
        need(getcwd(where, sizeof where) != NULL);
        is(strcmp(where, "/dev") == 0, cases[i].directory, "working directory %s",
           cases[i].directory ? "shared" : "copied");
        is(umask(022) == 017, cases[i].directory, "umask %s",
           cases[i].directory ? "shared" : "copied");
    }
}

static int set_handler(void* arg) {
    (void)arg;
    signal(SIGUSR1, SIG_IGN);
    return 0;
}

static void signal_handlers(void) {
    struct sigaction action;
    need(signal(SIGUSR1, SIG_DFL) != SIG_ERR);
    reap(start(CLONE_VM | SIGCHLD, set_handler, NULL));
    sigaction(SIGUSR1, NULL, &action);
    ok(action.sa_handler == SIG_DFL, "without CLONE_SIGHAND the child's handlers are its own");
    reap(start(CLONE_VM | CLONE_SIGHAND | SIGCHLD, set_handler, NULL));
    sigaction(SIGUSR1, NULL, &action);
    ok(action.sa_handler == SIG_IGN, "with it they are the parent's too");
}

static void wrong_flags(void) {
    is(clone_call(CLONE_SIGHAND | SIGCHLD, stack + STACK, set_handler, NULL), -EINVAL,
       "CLONE_SIGHAND without CLONE_VM is EINVAL");
    is(clone_call(CLONE_VM | CLONE_THREAD, stack + STACK, set_handler, NULL), -EINVAL,
       "CLONE_THREAD without CLONE_SIGHAND is EINVAL");
}

// The kernel's stores of the child's id: at start in the parent, in the child, and 0 at its end.
static void id_stores(void) {
    pid_t in_parent = 0, in_child = 0;
    long child = syscall(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, NULL,
                         &in_parent, &in_child, 0);
    if (child == 0)
        _exit(in_child == getpid() ? 0 : 1);
    need(child > 0);
    is(in_parent, child, "CLONE_PARENT_SETTID stores the id in the parent");
    is(in_child, 0, "CLONE_CHILD_SETTID does not");
    is_exit(reap((pid_t)child), 0, "it stores the id in the child");
}

int main(int argc, char** argv) {
    if (argc == 2 && strcmp(argv[1], "exit-42") == 0)
        return 42;
    self = strdup(self_path(argv[0]));
    subtest("both run in the same memory", both_run);
    subtest("mappings are shared", mappings);
    subtest("exec leaves the other's memory alone", exec_leaves_parent);
    subtest("fork by one of two who share", fork_within);
    subtest("CLONE_FILES and CLONE_FS", what_flags_share);
    subtest("CLONE_SIGHAND", signal_handlers);
    subtest("combinations that mean nothing", wrong_flags);
    subtest("ids stored by clone", id_stores);
    return done();
}

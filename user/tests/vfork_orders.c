// spork-only
// The release of an address space by exec and exit against signals and against each other, in every
// order: the kernel's sync points (kernel/process/sync_point.h) hold a thread where the test wants
// it.
#include "../lib/clone.h"
#include "../lib/counts.h"
#include "../lib/spork.h"
#include "../lib/sync_points.h"

#include <sys/mman.h>
#include <sys/prctl.h>

static char* self;

// What the processes of a test tell each other.
static struct {
    volatile pid_t child;
    volatile int word;
}* shared;

static void begin(void) {
    need(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(shared != MAP_FAILED);
}

static bool sleeps_in_vfork(pid_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/wchan", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char text[16] = "";
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n > 0 && strcmp(text, "vfork") == 0;
}

// A process that calls vfork; its child exits with 6, or executes a program that does. It exits
// with 0 when it has seen that.
static void vfork_parent(void* exec) {
    pid_t child = vfork();
    if (child == 0) {
        shared->child = getpid();
        if (exec != NULL)
            execl(self, "x", "6", NULL);
        _exit(6);
    }
    need(child > 0);
    int status = reap(child);
    _exit(exited_with(status, 6) ? 0 : killed_by(status, SIGKILL) ? 9 : 1);
}

static void* const by_exec = "";
static const char* way_of(void* exec) { return exec ? "exec" : "exit"; }

// Descriptors that exec closes are closed when the parent comes back.
static void reads_end_of_pipe(void* unused) {
    int data[2];
    char byte;
    (void)unused;
    need(pipe2(data, O_CLOEXEC | O_NONBLOCK) == 0);
    pid_t child = vfork();
    if (child == 0) {
        shared->child = getpid();
        execl(self, "x", "6", NULL);
        _exit(1);
    }
    close(data[1]);
    _exit(read(data[0], &byte, 1) == 0 ? 0 : 1);
}

static void closed_before_wake(void) {
    begin();
    hold("vfork_released");
    pid_t parent = spawn(reads_end_of_pipe, NULL);
    ok(eventually(shared->child && is_at(shared->child, "vfork_released")),
       "the child has just let go, and is held there");
    is_exit(reap(parent), 0, "its parent finds the close-on-exec descriptors closed");
    let_go("vfork_released");
    is_exit(reap(shared->child), 6, "the child goes on");
}

static void parent_is_killed(void* exec) {
    begin();
    hold("vfork_releases");
    pid_t parent = spawn(vfork_parent, exec);
    need(eventually(shared->child && is_at(shared->child, "vfork_releases")));
    need(eventually(sleeps_in_vfork(parent)));
    need(kill(parent, SIGKILL) == 0);
    is_killed(reap(parent), SIGKILL, "%s: a killed parent does not wait for its child",
              way_of(exec));
    let_go("vfork_releases");
    is_exit(reap(shared->child), 6, "and the child is not harmed");
}

static void killed_parents(void) {
    parent_is_killed(NULL);
    shared->child = 0;
    parent_is_killed(by_exec);
}

static void child_is_first(void* exec) {
    begin();
    hold("vfork_waits");
    pid_t parent = spawn(vfork_parent, exec);
    need(eventually(is_at(parent, "vfork_waits")));
    need(eventually(shared->child != 0 && proc_state(shared->child) == 'Z'));
    ok(is_at(parent, "vfork_waits"), "%s: the child is gone before its parent sleeps",
       way_of(exec));
    let_go("vfork_waits");
    is_exit(reap(parent), 0, "the parent does not sleep, and finds it");
}

static void child_first(void) {
    child_is_first(NULL);
    shared->child = 0;
    child_is_first(by_exec);
}

static void killed_before_sleep(void) {
    begin();
    hold("vfork_waits");
    hold("vfork_releases");
    pid_t parent = spawn(vfork_parent, by_exec);
    need(eventually(is_at(parent, "vfork_waits")));
    need(eventually(shared->child && is_at(shared->child, "vfork_releases")));
    need(kill(parent, SIGKILL) == 0);
    let_go("vfork_waits");
    is_killed(reap(parent), SIGKILL, "a parent that was killed before it slept does not");
    let_go("vfork_releases");
    is_exit(reap(shared->child), 6, "the child is not harmed");
}

static void child_is_killed_at(const char* point) {
    begin();
    hold(point);
    pid_t parent = spawn(vfork_parent, by_exec);
    need(eventually(shared->child && is_at(shared->child, point)));
    need(kill(shared->child, SIGKILL) == 0);
    need(eventually(sleeps_in_vfork(parent)));
    ok(sleeps_in_vfork(parent), "%s: the child is killed there, its parent sleeps on", point);
    let_go(point);
    is_exit(reap(parent), 9, "until it is dead");
}

static void killed_children(void) {
    child_is_killed_at("exec_commits");
    shared->child = 0;
    child_is_killed_at("vfork_releases");
}

// ---- Two processes in one address space, without vfork ---------------------------------------

static char stack[65536] __attribute__((aligned(16)));

static int sharer(void* what) {
    shared->child = getpid();
    while (shared->word == 0)
        continue;
    if (what != NULL)
        execl(self, "x", "6", NULL);
    return 6;
}

static void two_sharers(void* exec) {
    need(clone_call(CLONE_VM | SIGCHLD, stack + sizeof stack, sharer, exec) > 0);
    shared->word = 1;
    execl(self, "x", "7", NULL);
    _exit(1);
}

static void one_exits(void* exec) {
    need(clone_call(CLONE_VM | SIGCHLD, stack + sizeof stack, sharer, exec) > 0);
    shared->word = 1;
    _exit(7);
}

static void exec_after_exit(void) {
    begin();
    hold("exec_commits");
    pid_t first = spawn(one_exits, by_exec);
    need(eventually(shared->child && is_at(shared->child, "exec_commits")));
    is_exit(reap(first), 7, "one exits while the other is about to leave the address space");
    let_go("exec_commits");
    is_exit(reap(shared->child), 6, "which has it alone then, and leaves it");
}

static void exit_after_exec(void) {
    begin();
    hold("exit_begins");
    pid_t first = spawn(two_sharers, NULL);
    need(eventually(shared->child && is_at(shared->child, "exit_begins")));
    // The new program ends there, too: it has got as far as that.
    ok(eventually(is_at(first, "exit_begins")), "one executes while the other is about to exit");
    let_go("exit_begins");
    is_exit(reap(first), 7, "its program ends well");
    is_exit(reap(shared->child), 6, "and so does the other");
}

static void both_exec(void) {
    begin();
    hold("exec_commits");
    pid_t first = spawn(two_sharers, by_exec);
    need(eventually(is_at(first, "exec_commits") && is_at(shared->child, "exec_commits")));
    let_go("exec_commits");
    is_exit(reap(first), 7, "both leave it at once: one's program");
    is_exit(reap(shared->child), 6, "the other's");
}

// ---- Descriptors -----------------------------------------------------------------------------

static int closer(void* descriptor) {
    while (shared->word == 0)
        continue;
    close((int)(intptr_t)descriptor);
    shared->word = 2;
    return pause();
}

static void exec_with_a_thread(void* unused) {
    char number[16];
    (void)unused;
    int fd = dup(STDOUT_FILENO);
    need(fd >= 0);
    snprintf(number, sizeof number, "%d", fd);
    need(clone_call(CLONE_VM | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD, stack + sizeof stack,
                    closer, (void*)(intptr_t)fd) > 0);
    execl(self, "x", "is-open", number, NULL);
    _exit(1);
}

static void closed_by_a_thread_with(unsigned long flags, const char* how) {
    begin();
    hold("exec_is_ready");
    pid_t child = (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0L, 0L, 0L, 0L);
    need(child >= 0);
    if (child == 0)
        exec_with_a_thread(NULL);
    need(eventually(is_at(child, "exec_is_ready")));
    shared->word = 1;
    need(eventually(shared->word == 2));
    let_go("exec_is_ready");
    is_exit(reap(child), 0, "%s: what another thread closes until it is ended stays closed", how);
}

static void closed_by_a_thread(void) {
    closed_by_a_thread_with(0, "a table of the process's own");
    closed_by_a_thread_with(CLONE_FILES, "one that another process shares");
}

int main(int argc, char** argv) {
    if (argc == 2)
        return atoi(argv[1]);
    if (argc == 3)
        return fcntl(atoi(argv[2]), F_GETFD) >= 0;
    self = strdup(self_path(argv[0]));
    if (!control('-', "exit_begins")) {
        skip("a kernel without sync points: built with DEBUG_CHECKS=0");
        return done();
    }
    const long before = counts_now("vmspace");
    subtest("close-on-exec before the parent wakes", closed_before_wake);
    subtest("SIGKILL to a sleeping parent", killed_parents);
    subtest("the child ends before the parent sleeps", child_first);
    subtest("SIGKILL to a parent before it sleeps", killed_before_sleep);
    subtest("SIGKILL to a child on its way through exec", killed_children);
    subtest("exec after the other's exit", exec_after_exit);
    subtest("exit after the other's exec", exit_after_exec);
    subtest("two execs", both_exec);
    subtest("a thread closes before it is ended by exec", closed_by_a_thread);
    is(counts_now("vmspace"), before, "as many address spaces as before");
    return done();
}

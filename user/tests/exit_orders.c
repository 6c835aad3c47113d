// spork-only
// Ends of threads and processes that overtake one another: the kernel's sync points
// (kernel/process/sync_point.h) hold one that is on its way where the test wants it.
#include "../lib/proc.h"
#include "../lib/sync_points.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static struct {
    _Atomic pid_t ends, parent;
}* shared;
static struct gate end, last_one;

// ---- The last thread is not the first to leave -------------------------------------------------

static void* ends_first(void* unused) {
    shared->ends = (pid_t)syscall(SYS_gettid);
    gate_pass(&end);
    syscall(SYS_exit, 0);
    return unused;
}

static void two_that_end(void* unused) {
    (void)unused;
    pthread_t thread;
    need(pthread_create(&thread, NULL, ends_first, NULL) == 0);
    gate_pass(&last_one);
    syscall(SYS_exit, 7);
}

static bool has_memory(pid_t pid) {
    char path[64], byte;
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool has = fd >= 0 && read(fd, &byte, 1) == 1;
    close(fd);
    return has;
}

// One thread is held while it has its files and its place in the process, and the other one ends.
static void waits_for_all(void) {
    int fds[2], status;
    char point[64], byte;
    shared->ends = 0;
    end = gate_make();
    last_one = gate_make();
    need(pipe2(fds, O_NONBLOCK) == 0);
    pid_t child = spawn(two_that_end, NULL);
    close(fds[1]);
    need(eventually(shared->ends != 0));
    snprintf(point, sizeof point, "exit_leaves %d 1", shared->ends);
    hold(point);
    gate_open(&end);
    need(eventually(is_at(shared->ends, "exit_leaves")));
    gate_open(&last_one);
    need(eventually(!has_memory(child))); // the last one is on its way out
    breathe();
    is(waitpid(child, &status, WNOHANG), 0, "a process does not end before all its threads have");
    ok(read(fds[0], &byte, 1) == -1 && errno == EAGAIN, "one of them has its files yet");
    let_go("exit_leaves");
    is_exit(reap(child), 7, "then it ends");
    is(read(fds[0], &byte, 1), 0, "and its files are closed when the parent is told");
    close(fds[0]);
}

// ---- A process that ends has no children handed to it ------------------------------------------

static struct gate handed, seen;

static void orphan(void* unused) {
    (void)unused;
    gate_pass(&handed);
    shared->parent = getppid();
    gate_pass(&seen);
}

static void parent_of_orphan(void* unused) {
    (void)unused;
    spawn(orphan, NULL);
    gate_pass(&last_one);
}

static void subreaper(void* unused) {
    (void)unused;
    need(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    shared->ends = spawn(parent_of_orphan, NULL);
    gate_pass(&end);
}

// Its child ends while the subreaper is held on its way out.
static void dying_subreaper(void) {
    char point[64];
    shared->ends = 0;
    end = gate_make();
    last_one = gate_make();
    handed = gate_make();
    seen = gate_make();
    need(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    pid_t first = spawn(subreaper, NULL);
    need(eventually(shared->ends != 0));
    const pid_t middle = shared->ends;
    snprintf(point, sizeof point, "exit_leaves %d 1", first);
    hold(point);
    gate_open(&end);
    need(eventually(is_at(first, "exit_leaves")));
    gate_open(&last_one);
    need(eventually(proc_state(middle) == 'Z'));
    gate_open(&handed);
    need(eventually(shared->parent != 0));
    is(shared->parent, getpid(), "an orphan goes past a subreaper that is ending");
    gate_open(&seen);
    let_go("exit_leaves");
    is_exit(reap(first), 0, "which ends");
    need(reap(middle) == 0 && wait(NULL) > 0);
    ok(wait(NULL) == -1 && errno == ECHILD, "all of the family are the next subreaper's");
}

int main(void) {
    if (!control('-', "exit_leaves")) {
        skip("a kernel without sync points: built with DEBUG_CHECKS=0");
        return done();
    }
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(shared != MAP_FAILED);
    subtest("the last thread waits for the others", waits_for_all);
    subtest("a subreaper that is ending", dying_subreaper);
    return done();
}

// spork-only
// Signals and threads that end, in every order that matters: the kernel's sync points
// (kernel/process/sync_point.h) hold a thread where the test wants it.
#include "../lib/proc.h"
#include "../lib/sync_points.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static struct {
    _Atomic pid_t ends, stays, taker;
}* shared;
static struct gate end;

static sigset_t usr1(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    return set;
}

static void note_taker(int signo) {
    (void)signo;
    shared->taker = (pid_t)syscall(SYS_gettid);
}

static void* takes_it_and_ends(void* unused) {
    const sigset_t set = usr1();
    need(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
    shared->ends = (pid_t)syscall(SYS_gettid);
    gate_pass(&end);
    syscall(SYS_exit, 0); // the library's end of a thread would block all signals first
    return unused;
}

static void* takes_it_too(void* unused) {
    const sigset_t set = usr1();
    need(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
    shared->stays = (pid_t)syscall(SYS_gettid);
    for (;;)
        pause();
    return unused;
}

static void two_takers(void* unused) {
    (void)unused;
    const sigset_t set = usr1();
    pthread_t thread;
    need(signal(SIGUSR1, note_taker) != SIG_ERR && sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    need(pthread_create(&thread, NULL, takes_it_and_ends, NULL) == 0);
    need(eventually(shared->ends != 0));
    need(pthread_create(&thread, NULL, takes_it_too, NULL) == 0);
    for (;;)
        pause();
}

// The thread that was to take the signal is past its last chance to do so.
static void handed_on(void) {
    end = gate_make();
    pid_t child = spawn(two_takers, NULL);
    need(eventually(shared->stays != 0));
    hold("exit_begins");
    gate_open(&end);
    need(eventually(is_at(shared->ends, "exit_begins")));
    need(kill(child, SIGUSR1) == 0);
    let_go("exit_begins");
    ok(eventually(shared->taker != 0), "a thread that ends does not take a signal with it");
    is(shared->taker, shared->stays, "another one handles it");
    kill(child, SIGKILL);
    reap(child);
}

// ---- The last thread is not the first to leave -------------------------------------------------

static struct gate last_one;

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

int main(void) {
    if (!control('-', "exit_begins")) {
        skip("a kernel without sync points: built with DEBUG_CHECKS=0");
        return done();
    }
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(shared != MAP_FAILED);
    subtest("handed on", handed_on);
    subtest("the last thread waits for the others", waits_for_all);
    return done();
}

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

int main(void) {
    if (!control('-', "exit_begins")) {
        skip("a kernel without sync points: built with DEBUG_CHECKS=0");
        return done();
    }
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(shared != MAP_FAILED);
    subtest("handed on", handed_on);
    return done();
}

// Signals to processes with several threads: who takes them, and what stops, goes on and ends.
#include "../lib/proc.h"

#include <pthread.h>
#include <sys/syscall.h>

enum { THREADS = 3 };

static volatile pid_t taker;
static volatile int taken;
static volatile bool quit;
static volatile unsigned long turns[THREADS];
static pid_t tids[THREADS];
static struct gate ready;

static pid_t self_tid(void) { return (pid_t)syscall(SYS_gettid); }

static void note(int signo) {
    (void)signo;
    taker = self_tid();
    taken++;
}

static void handle(void) {
    struct sigaction action = {.sa_handler = note};
    need(sigaction(SIGUSR1, &action, NULL) == 0);
    taken = 0;
    taker = 0;
}

static void* turn(void* number) {
    size_t i = (size_t)number;
    tids[i] = self_tid();
    gate_open(&ready);
    while (!quit)
        turns[i]++;
    return NULL;
}

static void start(pthread_t threads[THREADS]) {
    ready = gate_make();
    quit = false;
    for (size_t i = 0; i < THREADS; i++)
        need(pthread_create(&threads[i], NULL, turn, (void*)i) == 0);
    for (size_t i = 0; i < THREADS; i++)
        gate_pass(&ready);
}

static void finish(pthread_t threads[THREADS]) {
    quit = true;
    for (size_t i = 0; i < THREADS; i++)
        need(pthread_join(threads[i], NULL) == 0);
}

static void who(void) {
    pthread_t threads[THREADS];
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    handle();
    start(threads);
    need(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    need(kill(getpid(), SIGUSR1) == 0);
    ok(eventually(taken == 1),
       "a signal to the process is taken although the first thread blocks it");
    ok(taker != self_tid(), "by another thread");
    for (size_t i = 0; i < THREADS; i++) {
        taken = 0;
        need(syscall(SYS_tgkill, getpid(), tids[i], SIGUSR1) == 0);
        ok(eventually(taken == 1) && taker == tids[i], "tgkill reaches thread %zu", i);
    }
    finish(threads);
    taken = 0;
    need(kill(getpid(), SIGUSR1) == 0);
    is(taken, 0, "when the others are gone it stays pending");
    need(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
    is(taken, 1, "until the only thread lets it through");
}

// Shared with the process under test.
static void busy(void* pipe_end) {
    pthread_t threads[THREADS];
    start(threads);
    need(write(*(int*)pipe_end, "r", 1) == 1);
    for (;;)
        pause();
}

static pid_t start_busy(void) {
    int ends[2];
    char byte;
    need(pipe(ends) == 0);
    pid_t child = spawn(busy, &ends[1]);
    need(read(ends[0], &byte, 1) == 1);
    close(ends[0]);
    close(ends[1]);
    return child;
}

static long cpu_time(pid_t pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY);
    need(fd >= 0);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    need(n > 0);
    text[n] = 0;
    long user = -1, system = -1;
    need(sscanf(strrchr(text, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld",
                &user, &system) == 2);
    return user + system;
}

static void stopping(void) {
    int status;
    pid_t child = start_busy();
    need(kill(child, SIGSTOP) == 0);
    need(waitpid(child, &status, WUNTRACED) == child);
    ok(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP, "a process with busy threads stops");
    long before = cpu_time(child);
    usleep(60000);
    ok(cpu_time(child) - before <= 1, "and then none of them runs");
    need(kill(child, SIGTERM) == 0);
    is(waitpid(child, &status, WNOHANG), 0, "a stopped process does not take SIGTERM");
    need(kill(child, SIGCONT) == 0);
    is_killed(reap(child), SIGTERM, "continued, it does");

    child = start_busy();
    need(kill(child, SIGSTOP) == 0);
    need(waitpid(child, &status, WUNTRACED) == child);
    need(kill(child, SIGKILL) == 0);
    is_killed(reap(child), SIGKILL, "SIGKILL ends a stopped process");
}

static void* sleeper(void* unused) {
    gate_open(&ready);
    for (;;)
        pause();
    return unused;
}

static void many_threads(void* how) {
    pthread_t thread;
    ready = gate_make();
    for (int i = 0; i < 8; i++)
        need(pthread_create(&thread, NULL, i % 2 ? sleeper : turn, (void*)(size_t)(i % THREADS)) ==
             0);
    for (int i = 0; i < 8; i++)
        gate_pass(&ready);
    switch (*(int*)how) {
    case 0: _exit(17);
    case 1: raise(SIGTERM); break;
    case 2: asm volatile("ud2"); break;
    case 3: kill(getpid(), SIGKILL); break;
    }
    for (;;)
        pause();
}

static void ending(void) {
    int how = 0;
    is_exit(status_of(many_threads, &how), 17, "exit_group ends all threads");
    how = 1;
    is_killed(status_of(many_threads, &how), SIGTERM, "a fatal signal to one thread too");
    how = 2;
    is_killed(status_of(many_threads, &how), SIGILL, "and a fault");
    how = 3;
    is_killed(status_of(many_threads, &how), SIGKILL, "and SIGKILL");
}

int main(void) {
    subtest("who takes it", who);
    subtest("stopping", stopping);
    subtest("ending", ending);
    return done();
}

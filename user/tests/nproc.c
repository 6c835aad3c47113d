// RLIMIT_NPROC: threads count as processes do, zombies too, for the real user; and no two that are
// made at the same time both pass it.
#include "../lib/proc.h"

#include <pthread.h>
#include <sys/resource.h>

enum { LIMIT = 10, ROUNDS = 20 };

// A user with no other process, not even one of another run of this test.
static uid_t nobody_else;

// That user, with room for LIMIT.
static void become_limited(void) {
    become(nobody_else);
    need(setrlimit(RLIMIT_NPROC, &(struct rlimit){LIMIT, LIMIT}) == 0);
}

static struct gate hold, ready;

static void* wait_for_end(void* unused) {
    (void)unused;
    gate_pass(&hold);
    return NULL;
}

static int make_threads(pthread_t* made, int most) {
    int n = 0, error = 0;
    while (n < most && (error = pthread_create(&made[n], NULL, wait_for_end, NULL)) == 0)
        n++;
    is(error, EAGAIN, "the next thread is EAGAIN");
    return n;
}

static void join(const pthread_t* threads, int n) {
    for (int i = 0; i < n; i++)
        gate_open(&hold);
    for (int i = 0; i < n; i++)
        need(pthread_join(threads[i], NULL) == 0);
}

// A process's place is free when it has been waited for, a thread's when it has left the kernel,
// which pthread_join does not wait for.
static pid_t fork_in_the_end(void) {
    pid_t child = -1;
    (void)eventually((child = fork()) >= 0);
    return child;
}

static void threads_count(void) {
    become_limited();
    hold = gate_make();
    pthread_t threads[2 * LIMIT];
    int n = make_threads(threads, 2 * LIMIT);
    is(n, LIMIT - 1, "with the first thread, as many as the limit says");
    is_errno(fork(), EAGAIN, "nor is there room for a process");
    join(threads, n);
    pid_t child = fork_in_the_end();
    if (child == 0)
        _exit(0);
    ok(child > 0, "when they have ended, there is room again");
    siginfo_t info;
    need(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
    (void)eventually((n = make_threads(threads, 2 * LIMIT), n == LIMIT - 2) ||
                     (join(threads, n), false));
    is(n, LIMIT - 2, "a zombie counts");
    reap(child);
    is(pthread_create(&threads[n], NULL, wait_for_end, NULL), 0, "until it has been waited for");
    join(threads, n + 1);
}

// The count goes along with a process that becomes another user.
static void sleep_as_other(void* unused) {
    (void)unused;
    need(setresuid(nobody_else + 1, nobody_else, -1) == 0);
    gate_open(&ready);
    gate_pass(&hold);
}

static void real_user_counts(void) {
    hold = gate_make();
    ready = gate_make();
    pid_t other = spawn(sleep_as_other, NULL);
    gate_pass(&ready);
    become_limited();
    pthread_t threads[2 * LIMIT];
    int n = make_threads(threads, 2 * LIMIT);
    is(n, LIMIT - 1, "another real user's processes do not count");
    gate_open(&hold);
    join(threads, n);
    reap(other);
}

static void superuser_is_free(void) {
    need(setrlimit(RLIMIT_NPROC, &(struct rlimit){0, 0}) == 0);
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    ok(child > 0, "the limit does not bind user 0");
    reap(child);
}

static pthread_barrier_t start, end;

static void* fork_once(void* result) {
    pthread_barrier_wait(&start);
    pid_t child = fork();
    if (child == 0)
        pause();
    *(pid_t*)result = child;
    pthread_barrier_wait(&end); // none makes room for another
    return NULL;
}

// Four threads, and room for one process: of the four forks one succeeds, at most.
static void no_two_at_once(void) {
    become_limited();
    enum { THREADS = 4 };
    int wrong = 0, right = 0;
    need(setrlimit(RLIMIT_NPROC, &(struct rlimit){THREADS + 2, LIMIT}) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[THREADS];
        pid_t made[THREADS];
        pthread_barrier_init(&start, NULL, THREADS);
        pthread_barrier_init(&end, NULL, THREADS);
        for (int i = 0; i < THREADS; i++)
            need(eventually(pthread_create(&threads[i], NULL, fork_once, &made[i]) == 0));
        int forked = 0;
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        for (int i = 0; i < THREADS; i++)
            if (made[i] > 0) {
                forked++;
                kill(made[i], SIGKILL);
                reap(made[i]);
            }
        wrong += forked > 1;
        right += forked == 1; // none, if threads of the last round were still on their way out
    }
    is(wrong, 0, "in %d rounds", ROUNDS);
    ok(right > 0, "one passed in %d of them", right);
}

int main(void) {
    if (geteuid() != 0) {
        skip("only root can become a user without processes");
        return done();
    }
    nobody_else = some_user();
    subtest("threads count", threads_count);
    subtest("for the real user", real_user_counts);
    subtest("not for root", superuser_is_free);
    subtest("reserved, not looked at", no_two_at_once);
    return done();
}

// Threads, as musl's pthreads make them: create and join, shared memory, own stacks and own
// thread-local data, mutexes and conditions, signals. How they meet fork, exec and exit is in
// thread_processes.c.
#include "../lib/proc.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/syscall.h>

enum { THREADS = 8, ROUNDS = 1000 };

static _Thread_local int own = 77;

static void* add_own(void* arg) {
    need(own == 77);
    own += *(int*)arg;
    return (void*)(intptr_t)own;
}

static void create_and_join(void) {
    int wrong = 0;
    for (int round = 0; round < 20; round++) {
        pthread_t thread[THREADS];
        int arg[THREADS];
        for (int i = 0; i < THREADS; i++) {
            arg[i] = i;
            need(pthread_create(&thread[i], NULL, add_own, &arg[i]) == 0);
        }
        for (int i = 0; i < THREADS; i++) {
            void* result;
            need(pthread_join(thread[i], &result) == 0);
            wrong += (intptr_t)result != 77 + i;
        }
    }
    is(wrong, 0, "each thread has its own thread-local data and gives its own result");
    is(own, 77, "the first thread's is as it was");
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long counter;
static int turn;

static void* count(void* unused) {
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
    }
    return unused;
}

static void* take_turns(void* arg) {
    const int mine = *(int*)arg;
    for (int i = 0; i < 100; i++) {
        pthread_mutex_lock(&mutex);
        while (turn != mine)
            pthread_cond_wait(&changed, &mutex);
        turn = (turn + 1) % THREADS;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void run_all(void* (*body)(void*)) {
    pthread_t thread[THREADS];
    int arg[THREADS];
    for (int i = 0; i < THREADS; i++) {
        arg[i] = i;
        need(pthread_create(&thread[i], NULL, body, &arg[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        need(pthread_join(thread[i], NULL) == 0);
}

static void locks(void) {
    run_all(count);
    is(counter, THREADS * ROUNDS, "under a mutex no count is lost");
    run_all(take_turns);
    is(turn, 0, "with a condition %d threads take turns", THREADS);
    struct timespec soon;
    clock_gettime(CLOCK_REALTIME, &soon);
    pthread_mutex_lock(&mutex);
    is(pthread_cond_timedwait(&changed, &mutex, &soon), ETIMEDOUT, "a wait with a time limit");
    pthread_mutex_unlock(&mutex);
}

static sem_t started, go_on;
static pid_t ids[2];

static void* tell_ids(void* unused) {
    ids[0] = getpid();
    ids[1] = (pid_t)syscall(SYS_gettid);
    return unused;
}

static void identity(void) {
    pthread_t thread;
    need(pthread_create(&thread, NULL, tell_ids, NULL) == 0 && pthread_join(thread, NULL) == 0);
    is(ids[0], getpid(), "a thread has its process's id");
    ok(ids[1] != getpid() && ids[1] > 0, "and a thread id of its own");
    is(syscall(SYS_gettid), getpid(), "the first thread's is the process's");
    // pthread_join returns when it has let go of its memory, which it does before it is gone.
    while (syscall(SYS_tgkill, getpid(), ids[1], 0) == 0)
        sched_yield();
    is_errno(syscall(SYS_tgkill, getpid(), ids[1], 0), ESRCH, "one that has ended is gone");
    is_errno(wait(NULL), ECHILD, "threads are no children");
}

static pthread_t handled_by;

static void note_thread(int signo) {
    (void)signo;
    handled_by = pthread_self();
    sem_post(&go_on);
}

static void* wait_for_go(void* unused) {
    sem_post(&started);
    while (sem_wait(&go_on) != 0)
        continue;
    return unused;
}

static void signals(void) {
    pthread_t thread;
    sigset_t set;
    struct sigaction action = {.sa_handler = note_thread};
    need(sigaction(SIGUSR1, &action, NULL) == 0);
    need(pthread_create(&thread, NULL, wait_for_go, NULL) == 0);
    sem_wait(&started);
    pthread_kill(thread, SIGUSR1);
    pthread_join(thread, NULL);
    ok(pthread_equal(handled_by, thread), "pthread_kill: the thread it names handles it");
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    need(pthread_create(&thread, NULL, wait_for_go, NULL) == 0);
    sem_wait(&started);
    pthread_sigmask(SIG_BLOCK, &set, NULL); // here, not there
    kill(getpid(), SIGUSR1);
    pthread_join(thread, NULL);
    ok(pthread_equal(handled_by, thread), "kill: a thread that does not block it");
}

int main(void) {
    need(sem_init(&started, 0, 0) == 0 && sem_init(&go_on, 0, 0) == 0);
    subtest("create and join", create_and_join);
    subtest("mutexes and conditions", locks);
    subtest("who is who", identity);
    subtest("signals", signals);
    return done();
}

// fork_with_lock: fork in a program with threads copies the locks, but not who holds them.
//
// The child has one thread, the one that called fork, and a copy of memory as it was at that
// moment. A mutex that another thread held is locked in the copy, for ever: that thread, which
// would unlock it, is not there. malloc and stdio have such locks inside, so after fork a child of
// a program with threads may call little more than exec.
//
// A vfork child is in the parent's own memory, in which the other threads go on running: the holder
// unlocks, and the child gets the mutex. posix_spawn's child takes no lock at all before exec.
#include "../lib/spork.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

enum { LIMIT = 2 }; // seconds, for the child that will never get it

extern char** environ;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static volatile int held, wanted, stop;

// Holds the mutex until it is wanted.
static void* holder(void* arg) {
    while (!stop) {
        pthread_mutex_lock(&mutex);
        held = 1;
        while (!wanted && !stop)
            sched_yield();
        held = 0;
        pthread_mutex_unlock(&mutex);
        while (wanted && !stop)
            sched_yield();
    }
    return NULL;
}

static void child(void) {
    alarm(LIMIT); // the child's own: SIGALRM ends it
    wanted = 1;
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    alarm(0);
    _exit(0);
}

static void show(const char* what, pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    wanted = 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        printf("%-13s DEAD-LOCK: the child waits for a thread that it does not have\n", what);
    else
        printf("%-13s the child is done (exit status %d)\n", what, WEXITSTATUS(status));
}

static void wait_until_held(void) {
    while (!held)
        sched_yield();
}

int main(int argc, char** argv) {
    if (argc > 1)
        return 0; // posix_spawn's program
    setvbuf(stdout, NULL, _IONBF, 0);
    pthread_t thread;
    pid_t pid;
    pthread_create(&thread, NULL, holder, NULL);

    wait_until_held();
    if ((pid = fork()) == 0)
        child();
    show("fork:", pid);

    wait_until_held();
    if ((pid = vfork()) == 0)
        child();
    show("vfork:", pid);

    wait_until_held();
    char* child_argv[] = {argv[0], "child", NULL};
    if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, child_argv, environ) == 0)
        show("posix_spawn:", pid);
    stop = 1;
    pthread_join(thread, NULL);
    return 0;
}

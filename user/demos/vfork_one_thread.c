// Only the thread that calls vfork sleeps. Another thread of the process counts meanwhile, and the
// vfork child, which has the same memory, ends when it has seen it count.
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ENOUGH = 100000 };

static volatile long count;
static volatile int stop;

static void* counter(void* arg) {
    while (!stop)
        count++;
    return arg;
}

int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, counter, NULL);
    static volatile long at_start, at_end; // the child's stores are the parent's
    const pid_t child = vfork();
    if (child == 0) {
        at_start = count;
        while (count < at_start + ENOUGH)
            sched_yield();
        at_end = count;
        _exit(0);
    }
    waitpid(child, NULL, 0);
    printf("the caller of vfork slept; meanwhile the other thread counted: %s\n",
           at_end >= at_start + ENOUGH ? "100000 and more" : "not");
    stop = 1;
    pthread_join(thread, NULL);
    return 0;
}

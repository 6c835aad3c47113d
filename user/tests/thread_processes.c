// Threads and what works on whole processes: exit, exec, fork, vfork, death by a signal.
#include "../lib/proc.h"
#include "../lib/spork.h"

#include <dirent.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static const char* self;
static _Thread_local int own = 77;
static sem_t started, go_on;

static void* block(void* unused) {
    sem_post(&started);
    sem_wait(&go_on);
    return unused;
}

static void* exit_all(void* unused) {
    (void)unused;
    exit(33);
}

static void* exec_other(void* unused) {
    (void)unused;
    execl(self, "child", "exit-42", NULL);
    _exit(1);
}

static char* volatile nowhere;

static void* crash(void* unused) {
    *nowhere = 1;
    return unused;
}

// A process with a few sleeping threads, and one more that runs `last` while the first joins it.
static void with_sleepers(void* last) {
    pthread_t thread;
    for (int i = 0; i < 3; i++)
        need(pthread_create(&thread, NULL, block, NULL) == 0);
    for (int i = 0; i < 3; i++)
        sem_wait(&started);
    need(pthread_create(&thread, NULL, *(void* (**)(void*))last, NULL) == 0);
    pthread_join(thread, NULL);
}

static void* leave(void* unused) {
    sem_wait(&go_on);
    exit(44);
    return unused;
}

static void first_leaves(void* unused) {
    pthread_t thread;
    need(pthread_create(&thread, NULL, leave, NULL) == 0);
    sem_post(&go_on);
    pthread_exit(unused);
}

static void* spin(void* unused) {
    sem_post(&started);
    for (;;)
        continue;
    return unused;
}

static void busy_threads(void* ready) {
    pthread_t thread;
    for (int i = 0; i < 3; i++)
        need(pthread_create(&thread, NULL, spin, NULL) == 0);
    for (int i = 0; i < 3; i++)
        sem_wait(&started);
    gate_open(ready);
    spin(NULL);
}

static void ends(void) {
    void* (*body)(void*) = exit_all;
    is_exit(status_of(with_sleepers, &body), 33, "exit in a thread ends all");
    body = exec_other;
    is_exit(status_of(with_sleepers, &body), 42, "exec in a thread ends all the others");
    body = crash;
    is_killed(status_of(with_sleepers, &body), SIGSEGV, "a fault in a thread kills all");
    is_exit(status_of(first_leaves, NULL), 44, "the first thread ends: the others go on");
    struct gate ready = gate_make();
    pid_t child = spawn(busy_threads, &ready);
    gate_pass(&ready);
    need(kill(child, SIGTERM) == 0);
    is_killed(reap(child), SIGTERM, "a signal kills a process whose threads are all busy");
}

static void* fork_here(void* unused) {
    (void)unused;
    pid_t child = fork();
    if (child == 0) {
        // Only this thread is in the child, as its first.
        need(syscall(SYS_gettid) == getpid());
        need(own == 77);
        _exit(21);
    }
    return (void*)(intptr_t)reap(child);
}

static void fork_in_thread(void) {
    pthread_t sleeper, thread;
    void* status;
    need(pthread_create(&sleeper, NULL, block, NULL) == 0);
    sem_wait(&started);
    need(pthread_create(&thread, NULL, fork_here, NULL) == 0);
    need(pthread_join(thread, &status) == 0);
    is_exit((int)(intptr_t)status, 21, "fork in a thread copies that thread alone");
    sem_post(&go_on);
    is(pthread_join(sleeper, NULL), 0, "the parent's other threads go on");
}

// Only the thread that calls vfork waits for the child: another one lets the child go on.
static int to_child[2];

static void* open_for_child(void* unused) {
    sem_wait(&go_on);
    need(write(to_child[1], "x", 1) == 1);
    return unused;
}

static void vfork_in_thread(void) {
    pthread_t thread;
    need(pipe(to_child) == 0);
    need(pthread_create(&thread, NULL, open_for_child, NULL) == 0);
    pid_t child = vfork();
    if (child == 0) {
        char byte;
        sem_post(&go_on);
        _exit(read(to_child[0], &byte, 1) == 1 ? 5 : 6);
    }
    is_exit(reap(child), 5, "while one thread waits in vfork the others run");
    need(pthread_join(thread, NULL) == 0);
}

// PR_SET_PDEATHSIG: "parent" is the thread that made the child.
struct mourner {
    struct gate asked, end;
    pid_t pid;
};

static void* make_mourner(void* arg) {
    struct mourner* m = arg;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    m->pid = fork();
    if (m->pid == 0) {
        pid_t parent = getppid();
        need(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
        need(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
        gate_open(&m->asked);
        gate_pass(&m->end);
        siginfo_t info;
        int got = sigtimedwait(&set, &info, &(struct timespec){0, 0});
        _exit(got < 0 ? 1 : got == SIGUSR1 && info.si_pid == parent && getppid() == parent ? 2 : 3);
    }
    gate_pass(&m->asked);
    return NULL;
}

static void death_of_a_thread(void) {
    struct mourner of_thread = {gate_make(), gate_make(), 0}, of_main = of_thread;
    of_main.asked = gate_make(), of_main.end = gate_make();
    pthread_t thread;
    make_mourner(&of_main);
    need(pthread_create(&thread, NULL, make_mourner, &of_thread) == 0);
    need(pthread_join(thread, NULL) == 0);
    // pthread_join may return before the thread has left the kernel.
    for (int threads = 0; threads != 1;) {
        DIR* tasks = opendir("/proc/self/task");
        need(tasks != NULL);
        threads = 0;
        for (struct dirent* e; (e = readdir(tasks)) != NULL;)
            threads += e->d_name[0] != '.';
        closedir(tasks);
    }
    gate_open(&of_thread.end);
    is_exit(reap(of_thread.pid), 2, "its own child is told, and has the same parent still");
    gate_open(&of_main.end);
    is_exit(reap(of_main.pid), 1, "another thread's is not");
}

static _Atomic int* times_told;
static struct gate mourns, counts, made;

static void* make_counting_child(void* stays) {
    if (fork() == 0) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGRTMIN); // is queued as often as it is sent
        need(sigprocmask(SIG_BLOCK, &set, NULL) == 0 && prctl(PR_SET_PDEATHSIG, SIGRTMIN) == 0);
        gate_open(&mourns);
        gate_pass(&counts);
        int n = 0;
        while (sigtimedwait(&set, NULL, &(struct timespec){0, 0}) == SIGRTMIN)
            n++;
        *times_told = n + 1;
        _exit(0);
    }
    gate_pass(&mourns);
    if (stays == NULL)
        _exit(0);
    gate_open(&made);
    for (;;)
        pause();
}

static void be_replaced(void* unused) {
    pthread_t makes;
    need(pthread_create(&makes, NULL, make_counting_child, &made) == 0);
    gate_pass(&made);
    execl(self, "x", "exit-42", NULL);
    (void)unused;
}

static void death_by_exec(void) {
    times_told =
        mmap(NULL, sizeof *times_told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(times_told != MAP_FAILED);
    mourns = gate_make(), counts = gate_make(), made = gate_make();
    is_exit(status_of(be_replaced, NULL), 42, "a thread is ended by another one's exec");
    gate_open(&counts);
    need(eventually(*times_told != 0));
    is(*times_told - 1, 2, "its child is told of that, and of the end of the process");
}

static void death_of_all_threads(void) {
    times_told =
        mmap(NULL, sizeof *times_told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(times_told != MAP_FAILED);
    mourns = gate_make();
    counts = gate_make();
    pid_t child = fork();
    if (child == 0) {
        pthread_t makes;
        need(pthread_create(&makes, NULL, make_counting_child, NULL) == 0);
        for (;;)
            pause();
    }
    reap(child);
    gate_open(&counts);
    need(eventually(*times_told != 0));
    // Linux may give the child to a thread that is about to be ended, too, and tell it twice.
    ok(*times_told == 2 || (*times_told == 3 && !on_spork()),
       "the child of a thread hears of its process's end once");
}

int main(int argc, char** argv) {
    if (argc == 2 && strcmp(argv[1], "exit-42") == 0)
        return 42;
    self = strdup(self_path(argv[0]));
    need(sem_init(&started, 0, 0) == 0 && sem_init(&go_on, 0, 0) == 0);
    subtest("ends", ends);
    subtest("fork", fork_in_thread);
    subtest("vfork", vfork_in_thread);
    subtest("the death of a thread", death_of_a_thread);
    subtest("death by an exec", death_by_exec);
    subtest("the death of all threads", death_of_all_threads);
    return done();
}

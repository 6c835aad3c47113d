// futex: sleep while a word has a value, wake those who sleep.
#include "../lib/clone.h"
#include "../lib/proc.h"

#include <sys/mman.h>
#include <sys/syscall.h>

enum {
    WAIT = 0,
    WAKE = 1,
    REQUEUE = 3,
    CMP_REQUEUE = 4,
    WAIT_BITSET = 9,
    WAKE_BITSET = 10,
    PRIVATE = 128
};

static long futex(volatile int* word, int op, int value, const struct timespec* time,
                  volatile int* other, int more) {
    return syscall(SYS_futex, word, op, value, time, other, more);
}

static volatile int* shared_words(void) {
    volatile int* words =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(words != MAP_FAILED);
    return words;
}

static void answers(void) {
    static volatile int word = 5;
    const struct timespec soon = {0, 20000000}, bad = {0, 2000000000};
    is_errno(futex(&word, WAIT | PRIVATE, 6, NULL, NULL, 0), EAGAIN, "the word has another value");
    int64_t start = now_ns();
    is_errno(futex(&word, WAIT | PRIVATE, 5, &soon, NULL, 0), ETIMEDOUT, "nobody wakes us");
    ok(now_ns() - start >= 20000000, "and not before the time");
    is_errno(futex(&word, WAIT | PRIVATE, 5, &bad, NULL, 0), EINVAL, "a time that is none");
    is(futex(&word, WAKE | PRIVATE, 1, NULL, NULL, 0), 0, "nobody to wake");
    is_errno(futex((volatile int*)((uintptr_t)&word + 1), WAIT | PRIVATE, 5, NULL, NULL, 0), EINVAL,
             "a word across words");
    is_errno(futex(&word, 99, 0, NULL, NULL, 0), ENOSYS, "an operation that is none");
    struct timespec absolute;
    clock_gettime(CLOCK_MONOTONIC, &absolute);
    is_errno(futex(&word, WAIT_BITSET | PRIVATE, 5, &absolute, NULL, -1), ETIMEDOUT,
             "an absolute time that is past");
    is_errno(futex(&word, WAIT_BITSET | PRIVATE, 5, NULL, NULL, 0), EINVAL, "no bit at all");
}

static volatile int* words;

static void sleeper(void* unused) {
    (void)unused;
    while (words[0] == 0)
        futex(&words[0], WAIT, 0, NULL, NULL, 0);
}

static void between_processes(void) {
    enum { SLEEPERS = 5 };
    pid_t child[SLEEPERS];
    words = shared_words();
    for (int i = 0; i < SLEEPERS; i++) {
        child[i] = spawn(sleeper, NULL);
        need(eventually(proc_state(child[i]) == 'S'));
    }
    is(futex(&words[0], WAKE, 2, NULL, NULL, 0), 2, "two of five are woken");
    for (int i = 0; i < SLEEPERS; i++)
        need(eventually(proc_state(child[i]) == 'S')); // and sleep again: the word is still 0
    words[0] = 1;
    is(futex(&words[0], WAKE, 1000, NULL, NULL, 0), SLEEPERS, "all are woken");
    for (int i = 0; i < SLEEPERS; i++)
        is_exit(reap(child[i]), 0, "and end");
}

static void counter(void* unused) {
    (void)unused;
    for (int i = 0; i < 2000; i++) {
        // The classic mutex: 0 free, 1 taken, 2 taken and somebody may sleep.
        int c = __sync_val_compare_and_swap(&words[0], 0, 1);
        if (c != 0) {
            if (c != 2)
                c = __sync_lock_test_and_set(&words[0], 2);
            while (c != 0) {
                futex(&words[0], WAIT, 2, NULL, NULL, 0);
                c = __sync_lock_test_and_set(&words[0], 2);
            }
        }
        words[1]++;
        if (__sync_fetch_and_sub(&words[0], 1) != 1) {
            words[0] = 0;
            futex(&words[0], WAKE, 1, NULL, NULL, 0);
        }
    }
}

static void mutual_exclusion(void) {
    words = shared_words();
    pid_t child[4];
    for (int i = 0; i < 4; i++)
        child[i] = spawn(counter, NULL);
    for (int i = 0; i < 4; i++)
        need(exited_with(reap(child[i]), 0));
    is(words[1], 8000, "four processes count under a mutex: no count is lost");
}

static void requeue_sleeper(void* unused) {
    (void)unused;
    need(futex(&words[0], WAIT, 0, NULL, NULL, 0) == 0);
}

static void requeue(void) {
    pid_t child[3];
    words = shared_words();
    for (int i = 0; i < 3; i++) {
        child[i] = spawn(requeue_sleeper, NULL);
        need(eventually(proc_state(child[i]) == 'S'));
    }
    is_errno(futex(&words[0], CMP_REQUEUE, 1, (void*)10, &words[1], 7), EAGAIN,
             "the word has another value");
    is(futex(&words[0], CMP_REQUEUE, 1, (void*)10, &words[1], 0), 3,
       "one is woken, two go to sleep on another word");
    is(futex(&words[0], WAKE, 10, NULL, NULL, 0), 0, "nobody sleeps on the first");
    is(futex(&words[1], WAKE, 10, NULL, NULL, 0), 2, "two do on the second");
    for (int i = 0; i < 3; i++)
        is_exit(reap(child[i]), 0, "all end");
}

static char stack[65536] __attribute__((aligned(16)));
static volatile int private_word;

static int private_sleeper(void* unused) {
    (void)unused;
    while (private_word == 0)
        futex(&private_word, WAIT | PRIVATE, 0, NULL, NULL, 0);
    return 0;
}

// A private futex is one between those who share an address space; a fork's copy is another word.
static void private_futexes(void) {
    private_word = 0;
    long child = clone_call(CLONE_VM | SIGCHLD, stack + sizeof stack, private_sleeper, NULL);
    need(child > 0 && eventually(proc_state((pid_t)child) == 'S'));
    pid_t copy = fork();
    if (copy == 0)
        _exit((int)futex(&private_word, WAKE | PRIVATE, 10, NULL, NULL, 0));
    is_exit(reap(copy), 0, "a copy of the word is not the word");
    private_word = 1;
    is(futex(&private_word, WAKE, 10, NULL, NULL, 0), 0, "nor is it to who does not say PRIVATE");
    is(futex(&private_word, WAKE | PRIVATE, 10, NULL, NULL, 0), 1, "the word is");
    is_exit(reap((pid_t)child), 0, "and the sleeper ends");
}

static void interrupted(int signo) { (void)signo; }

static void signals(void) {
    static volatile int word;
    struct sigaction action = {.sa_handler = interrupted};
    need(sigaction(SIGUSR1, &action, NULL) == 0);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        need(eventually(proc_state(parent) == 'S'));
        kill(parent, SIGUSR1);
        _exit(0);
    }
    is_errno(futex(&word, WAIT | PRIVATE, 0, NULL, NULL, 0), EINTR, "a signal ends the wait");
    reap(child);
}

static int ask_and_end(void* unused) {
    (void)unused;
    syscall(SYS_set_tid_address, &private_word);
    return 0;
}

// At the end of a process that shares its memory, the kernel clears the word that it was told of
// and wakes who waits for that: how pthread_join learns that a thread is gone.
static void cleared_id(void) {
    private_word = 1;
    long child = clone_call(CLONE_VM | SIGCHLD, stack + sizeof stack, ask_and_end, NULL);
    need(child > 0);
    while (private_word != 0)
        futex(&private_word, WAIT, 1, NULL, NULL, 0);
    ok(true, "the word is cleared, and the sleeper woken");
    is_exit(reap((pid_t)child), 0, "at the child's end");
}

static int ask_and_wait(void* gate) {
    syscall(SYS_set_tid_address, &private_word);
    gate_pass(gate);
    return 0;
}

static int sleep_once(void* unused) {
    (void)unused;
    return (int)futex(&private_word, WAIT | PRIVATE, 1, NULL, NULL, 0);
}

// It is a wake-up for whoever shares the word, and not for one who has said that nobody does.
static void cleared_id_of_private_sleeper(void) {
    static char other[sizeof stack] __attribute__((aligned(16)));
    struct gate end = gate_make();
    private_word = 1;
    long ending = clone_call(CLONE_VM | SIGCHLD, stack + sizeof stack, ask_and_wait, &end);
    long sleeper = clone_call(CLONE_VM | SIGCHLD, other + sizeof other, sleep_once, NULL);
    need(ending > 0 && sleeper > 0 && eventually(proc_state((pid_t)sleeper) == 'S'));
    gate_open(&end);
    is_exit(reap((pid_t)ending), 0, "one ends");
    is(private_word, 0, "its word is cleared");
    is(futex(&private_word, WAKE | PRIVATE, 10, NULL, NULL, 0), 1,
       "a private sleeper is not woken");
    is_exit(reap((pid_t)sleeper), 0, "until it is woken as such");
}

int main(void) {
    subtest("answers", answers);
    subtest("between processes", between_processes);
    subtest("a mutex", mutual_exclusion);
    subtest("requeue", requeue);
    subtest("private futexes", private_futexes);
    subtest("signals", signals);
    subtest("the id cleared at the end", cleared_id);
    subtest("and a private sleeper", cleared_id_of_private_sleeper);
    return done();
}

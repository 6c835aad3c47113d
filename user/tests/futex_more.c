// Futexes beyond waiting and waking: FUTEX_WAKE_OP, bit sets, FUTEX_CMP_REQUEUE's answers, robust
// lists; and that priority inheritance, where it is not there, is refused.
#include "../lib/proc.h"
#include "../lib/spork.h"

#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

// <linux/futex.h>, which a C library's headers need not have beside them.
enum {
    FUTEX_WAKE = 1,
    FUTEX_CMP_REQUEUE = 4,
    FUTEX_WAKE_OP,
    FUTEX_LOCK_PI,
    FUTEX_UNLOCK_PI,
    FUTEX_TRYLOCK_PI,
    FUTEX_WAIT_BITSET,
    FUTEX_WAKE_BITSET,
    FUTEX_WAIT_REQUEUE_PI,
    FUTEX_CMP_REQUEUE_PI,
};
enum { FUTEX_OP_SET, FUTEX_OP_ADD, FUTEX_OP_OR, FUTEX_OP_ANDN, FUTEX_OP_XOR };
enum { FUTEX_OP_OPARG_SHIFT = 8 };
enum {
    FUTEX_OP_CMP_EQ,
    FUTEX_OP_CMP_NE,
    FUTEX_OP_CMP_LT,
    FUTEX_OP_CMP_LE,
    FUTEX_OP_CMP_GT,
    FUTEX_OP_CMP_GE
};

static uint32_t encode(int op, int argument, int compare, int with) {
    return (uint32_t)op << 28 | (uint32_t)compare << 24 | ((uint32_t)argument & 0xfff) << 12 |
           ((uint32_t)with & 0xfff);
}

static long futex(volatile uint32_t* word, int op, uint32_t value, long arg4,
                  volatile uint32_t* word2, uint32_t value3) {
    return syscall(SYS_futex, word, op, value, arg4, word2, value3);
}

static volatile uint32_t a, b;
static volatile int awake;

struct sleeper {
    pthread_t thread;
    volatile uint32_t* word;
    uint32_t bits;
    volatile int tid;
};

static void* sleep_on(void* arg) {
    struct sleeper* s = arg;
    s->tid = (int)syscall(SYS_gettid);
    while (futex(s->word, FUTEX_WAIT_BITSET, 0, 0, NULL, s->bits) != 0 && errno == EINTR)
        continue;
    __atomic_fetch_add(&awake, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static bool thread_sleeps(int tid) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = 0;
    const char* end = strrchr(text, ')');
    return end != NULL && strncmp(end, ") S", 3) == 0;
}

static void start(struct sleeper* s, volatile uint32_t* word, uint32_t bits) {
    s->word = word;
    s->bits = bits;
    s->tid = 0;
    need(pthread_create(&s->thread, NULL, sleep_on, s) == 0);
    need(eventually(s->tid != 0 && thread_sleeps(s->tid)));
}

static void wake_op(void) {
    static const struct {
        int op, argument, compare, with;
        uint32_t before, after;
        long woken;
    } cases[] = {
        {FUTEX_OP_SET, 7, FUTEX_OP_CMP_EQ, 3, 3, 7, 2},
        {FUTEX_OP_SET, 7, FUTEX_OP_CMP_EQ, 4, 3, 7, 1},
        {FUTEX_OP_ADD, 5, FUTEX_OP_CMP_GT, 2, 3, 8, 2},
        {FUTEX_OP_ADD, 0xfff, FUTEX_OP_CMP_LT, 3, 3, 2, 1}, // -1
        {FUTEX_OP_OR, 4, FUTEX_OP_CMP_LE, 3, 3, 7, 2},
        {FUTEX_OP_ANDN, 1, FUTEX_OP_CMP_NE, 3, 3, 2, 1},
        {FUTEX_OP_XOR, 1, FUTEX_OP_CMP_GE, 3, 3, 2, 2},
        {FUTEX_OP_SET | FUTEX_OP_OPARG_SHIFT, 4, FUTEX_OP_CMP_EQ, 3, 3, 16, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sleeper one, two;
        a = b = 0;
        start(&one, &a, ~0u);
        start(&two, &b, ~0u);
        b = cases[i].before;
        long woken = futex(&a, FUTEX_WAKE_OP, 1, 1, &b,
                           encode(cases[i].op, cases[i].argument, cases[i].compare, cases[i].with));
        is(woken, cases[i].woken, "WAKE_OP %d wakes", (int)i);
        is(b, cases[i].after, "and stores");
        futex(&b, FUTEX_WAKE, 9, 0, NULL, 0);
        pthread_join(one.thread, NULL);
        pthread_join(two.thread, NULL);
    }
    is_errno(futex(&a, FUTEX_WAKE_OP, 1, 1, (uint32_t*)8, 0), EFAULT, "a bad second word");
    is_errno(futex(&a, FUTEX_WAKE_OP, 1, 1, &b, encode(7, 0, 0, 0)), ENOSYS,
             "an operation that is none");
}

static void bit_sets(void) {
    struct sleeper one, two;
    a = 0;
    awake = 0;
    start(&one, &a, 1);
    start(&two, &a, 2);
    is(futex(&a, FUTEX_WAKE_BITSET, 9, 0, NULL, 4), 0, "nobody waits for this bit");
    is(futex(&a, FUTEX_WAKE_BITSET, 9, 0, NULL, 2), 1, "one for this");
    pthread_join(two.thread, NULL);
    is(awake, 1, "that one");
    is(futex(&a, FUTEX_WAKE, 9, 0, NULL, 0), 1, "FUTEX_WAKE is for all bits");
    pthread_join(one.thread, NULL);
    is_errno(futex(&a, FUTEX_WAKE_BITSET, 1, 0, NULL, 0), EINVAL, "no bit");
    is_errno(futex(&a, FUTEX_WAIT_BITSET, 0, 0, NULL, 0), EINVAL, "no bit to wait for");
}

static void compare_and_requeue(void) {
    struct sleeper s[3];
    a = b = 0;
    for (int i = 0; i < 3; i++)
        start(&s[i], &a, ~0u);
    is_errno(futex(&a, FUTEX_CMP_REQUEUE, 1, 9, &b, 5), EAGAIN, "the word has another value");
    is(futex(&a, FUTEX_CMP_REQUEUE, 1, 9, &b, 0), 3, "one woken, two moved");
    is(futex(&a, FUTEX_WAKE, 9, 0, NULL, 0), 0, "nobody is where they were");
    is(futex(&b, FUTEX_WAKE, 9, 0, NULL, 0), 2, "two are at the other word");
    for (int i = 0; i < 3; i++)
        pthread_join(s[i].thread, NULL);
    is_errno(futex(&a, FUTEX_CMP_REQUEUE, (uint32_t)-1, 1, &b, 0), EINVAL, "a negative count");
    is_errno(futex((uint32_t*)((char*)&a + 1), FUTEX_WAKE, 1, 0, NULL, 0), EINVAL,
             "a word that is not aligned");
}

// ---- Shared memory ---------------------------------------------------------------------------

enum { PAGE = 4096, OTHER_PAGES = 64 };

static volatile uint32_t* map_file(int fd, size_t pages) {
    void* at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    need(at != MAP_FAILED);
    return at;
}

// A word is a place in a file, not the page that holds it at the moment.
static void truncated(void) {
    struct sleeper s;
    int file = memfd_create("one", MFD_CLOEXEC), other = memfd_create("other", MFD_CLOEXEC);
    need(file >= 0 && other >= 0);
    need(ftruncate(file, PAGE) == 0 && ftruncate(other, OTHER_PAGES * PAGE) == 0);
    volatile uint32_t* word = map_file(file, 1);
    *word = 0;
    start(&s, word, ~0u);
    need(ftruncate(file, 0) == 0);
    is_errno(futex(word, FUTEX_WAKE, 1, 0, NULL, 0), EFAULT, "a word beyond the end of its file");
    // Among these pages is the one that the word was in.
    volatile uint32_t* others = map_file(other, OTHER_PAGES);
    long woken = 0;
    for (size_t i = 0; i < OTHER_PAGES; i++) {
        others[i * PAGE / sizeof *others] = 0;
        woken += futex(&others[i * PAGE / sizeof *others], FUTEX_WAKE, 1, 0, NULL, 0);
    }
    is(woken, 0, "who waits there is not woken by those who use its memory next");
    need(ftruncate(file, PAGE) == 0);
    is(futex(map_file(file, 1), FUTEX_WAKE, 1, 0, NULL, 0), 1,
       "but when the file has the word again");
    if (woken == 0)
        pthread_join(s.thread, NULL);
}

static void wake_as_child(void* word) { _exit((int)futex(word, FUTEX_WAKE, 1, 0, NULL, 0)); }

// Memory that was private when the sleeper came, and that a child shares by inheritance.
static void inherited(void) {
    struct sleeper s;
    volatile uint32_t* word =
        mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(word != MAP_FAILED);
    start(&s, word, ~0u);
    is_exit(status_of(wake_as_child, (void*)word), 0, "a child's copy is another word");
    is(futex(word, FUTEX_WAKE, 1, 0, NULL, 0), 1, "the one's own is not");
    pthread_join(s.thread, NULL);
    if (spork_minherit((void*)word, PAGE, INHERIT_SHARE) != 0)
        return; // Linux has no such memory
    for (int round = 0; round < 2; round++) {
        start(&s, word, ~0u);
        is_exit(status_of(wake_as_child, (void*)word), 1, "one that is shared is the same (%d)",
                round);
        futex(word, FUTEX_WAKE, 1, 0, NULL, 0);
        pthread_join(s.thread, NULL);
    }
}

// ---- Robust mutexes --------------------------------------------------------------------------

static pthread_mutex_t* mutex;

static void make_mutex(void) {
    pthread_mutexattr_t attributes;
    mutex = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(mutex != MAP_FAILED);
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    need(pthread_mutex_init(mutex, &attributes) == 0);
}

static void* lock_and_leave(void* arg) {
    need(pthread_mutex_lock(mutex) == 0);
    return arg;
}

static void lock_and_die(void* how) {
    need(pthread_mutex_lock(mutex) == 0);
    if (how == NULL)
        _exit(0);
    kill(getpid(), SIGKILL);
}

static void lock_and_exec(void* self) {
    need(pthread_mutex_lock(mutex) == 0);
    execl(self, "x", "exit", NULL);
}

static void recover(const char* how) {
    is(pthread_mutex_lock(mutex), EOWNERDEAD, "%s: the next owner is told", how);
    need(pthread_mutex_consistent(mutex) == 0);
    need(pthread_mutex_unlock(mutex) == 0);
}

static const char* self;

static void* wait_for_it(void* result) {
    *(int*)result = pthread_mutex_lock(mutex);
    return NULL;
}

static void die_with_waiter(void* gate) {
    need(pthread_mutex_lock(mutex) == 0);
    gate_open(&((struct gate*)gate)[0]);
    gate_pass(&((struct gate*)gate)[1]);
    kill(getpid(), SIGKILL);
}

static void robust(void) {
    pthread_t thread;
    make_mutex();
    need(pthread_create(&thread, NULL, lock_and_leave, NULL) == 0);
    pthread_join(thread, NULL);
    recover("a thread that ended");
    status_of(lock_and_die, NULL);
    recover("a process that exited");
    status_of(lock_and_die, mutex);
    recover("a process that was killed");
    status_of(lock_and_exec, (void*)self);
    recover("a process that executed another program");
    struct gate gates[2] = {gate_make(), gate_make()};
    pid_t child = spawn(die_with_waiter, gates);
    int result = -1;
    gate_pass(&gates[0]);
    need(pthread_create(&thread, NULL, wait_for_it, &result) == 0);
    gate_open(&gates[1]);
    reap(child);
    pthread_join(thread, NULL);
    is(result, EOWNERDEAD, "one who waits is woken and told");
}

// Words as a thread may leave them: a list of three, one of them another's, and one that it was about
// to take.
struct robust_entry {
    struct robust_entry* next;
    uint32_t word;
};
static struct {
    struct robust_entry* first;
    long offset;
    struct robust_entry* pending;
} robust_head;
static struct robust_entry entries[5];
enum { OWNER_DIED = 0x40000000 };

static int leave_words(void* unused) {
    (void)unused;
    const uint32_t tid = (uint32_t)syscall(SYS_gettid);
    for (int i = 0; i < 5; i++)
        entries[i] = (struct robust_entry){&entries[i + 1], i == 1 ? tid + 1 : tid};
    entries[3].next = (struct robust_entry*)&robust_head;
    robust_head.first = &entries[0];
    robust_head.offset = offsetof(struct robust_entry, word);
    robust_head.pending = &entries[4];
    need(syscall(SYS_set_robust_list, &robust_head, sizeof robust_head) == 0);
    return 0;
}

static char stack_of_one_that_leaves[65536] __attribute__((aligned(16)));

static void robust_lists(void) {
    const pid_t child =
        clone(leave_words, stack_of_one_that_leaves + sizeof stack_of_one_that_leaves,
              CLONE_VM | SIGCHLD, NULL);
    need(child > 0);
    reap(child);
    is(entries[0].word, OWNER_DIED, "the first on a robust list");
    is(entries[1].word, child + 1, "a word that is another's stays");
    is(entries[2].word, OWNER_DIED, "the third");
    is(entries[3].word, OWNER_DIED, "the last");
    is(entries[4].word, OWNER_DIED, "the one that was about to be taken or released");
}

static void priority_inheritance(void) {
    static const int ops[] = {FUTEX_LOCK_PI, FUTEX_UNLOCK_PI, FUTEX_TRYLOCK_PI,
                              FUTEX_WAIT_REQUEUE_PI, FUTEX_CMP_REQUEUE_PI};
    struct utsname system;
    need(uname(&system) == 0);
    a = 0;
    if (strstr(system.release, "spork") == NULL) {
        is(futex(&a, FUTEX_LOCK_PI, 0, 0, NULL, 0), 0, "Linux has it");
        is(a, syscall(SYS_gettid), "and says whose the word is");
        return;
    }
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        is_errno(futex(&a, ops[i], 1, 0, &b, 0), ENOSYS, "operation %d is ENOSYS", ops[i]);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    is(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT), ENOSYS,
       "and the C library says so");
}

int main(int argc, char** argv) {
    if (argc > 1)
        return 0;
    self = strdup(self_path(argv[0]));
    subtest("FUTEX_WAKE_OP", wake_op);
    subtest("bit sets", bit_sets);
    subtest("FUTEX_CMP_REQUEUE", compare_and_requeue);
    subtest("the file is truncated", truncated);
    subtest("memory shared by inheritance", inherited);
    subtest("robust mutexes", robust);
    subtest("robust lists", robust_lists);
    subtest("priority inheritance", priority_inheritance);
    return done();
}

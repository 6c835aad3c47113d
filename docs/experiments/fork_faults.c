// fork_faults: what it costs that processes that come from one another by fork have one lock for
// their copies of a mapping (docs/locks.md). Processes, one for each processor, fault at the same
// time: in what was one mapping before they were forked, and then each in a mapping made since.
// Beside the time, which other work on the host disturbs, it counts how often one had to sleep.
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 2048, ROUNDS = 5, MOST = 64 };

static int fail(const char* what) {
    perror(what);
    exit(1);
}

static void* map(size_t size, int more_prot, int kind) {
    void* at = mmap(NULL, size, PROT_READ | PROT_WRITE | more_prot, kind | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        fail("mmap");
    return at;
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

struct start {
    _Atomic int ready;
    uint64_t took[MOST];
    _Atomic long slept;
};

static long sleeps(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw;
}

// Each child writes to pages that nobody else has.
static void child(struct start* start, char* area, int i, int n, int common) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(i, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0)
        fail("sched_setaffinity");
    if (common)
        area += (size_t)(1 + i * PAGES) * PAGE;
    else // with another right, or it would be merged with the one that was there before
        area = map((size_t)PAGES * PAGE, PROT_EXEC, MAP_PRIVATE);
    start->ready++;
    while (start->ready < n)
        ;
    const long slept = sleeps();
    const uint64_t begin = now();
    for (int page = 0; page < PAGES; page++)
        area[(size_t)page * PAGE] = 1;
    start->took[i] = now() - begin;
    start->slept += sleeps() - slept;
    _exit(0);
}

static int by_size(const void* a, const void* b) {
    uint64_t x = *(const uint64_t*)a, y = *(const uint64_t*)b;
    return (x > y) - (x < y);
}

// The time is the median over the rounds, of the slowest child.
static void measure(int n, int common) {
    uint64_t took[ROUNDS] = {0};
    long slept = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct start* start = map(sizeof *start, 0, MAP_SHARED);
        char* area = map((size_t)(1 + n * PAGES) * PAGE, 0, MAP_PRIVATE);
        area[0] = 1; // so that there is an amap to have copies of
        for (int i = 0; i < n; i++) {
            pid_t pid = fork();
            if (pid < 0)
                fail("fork");
            if (pid == 0)
                child(start, area, i, n, common);
        }
        for (int i = 0; i < n; i++)
            if (wait(NULL) < 0)
                fail("wait");
        for (int i = 0; i < n; i++)
            if (start->took[i] > took[round])
                took[round] = start->took[i];
        slept += start->slept;
        munmap(area, (size_t)(1 + n * PAGES) * PAGE);
        munmap(start, sizeof *start);
    }
    qsort(took, ROUNDS, sizeof *took, by_size);
    printf("%d processes, %s: %llu ns a fault, %ld sleeps in %d faults\n", n,
           common ? "one mapping before" : "mappings of their own",
           (unsigned long long)(took[ROUNDS / 2] / PAGES), slept, ROUNDS * n * PAGES);
}

int main(void) {
    int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (cpus > MOST)
        cpus = MOST;
    for (int n = 1; n <= cpus; n *= 2) {
        measure(n, 1);
        measure(n, 0);
    }
    return 0;
}

// Threads on other processors write to pages while their rights, or the pages, are taken away.
#include "../../lab.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>

enum { WRITERS = 2, ROUNDS = 100, LOOKS = 2000, OTHERS = 8 };

static volatile uint64_t* at; // the page that the writers write to
static atomic_int over, writing[WRITERS];
static _Thread_local sigjmp_buf before;

// A store that is refused is tried again.
static void refused(int signo) {
    (void)signo;
    siglongjmp(before, 1);
}

static void* writer(void* which) {
    atomic_int* alive = which;
    sigsetjmp(before, 1);
    while (!over) {
        at[alive - writing]++;
        ++*alive;
    }
    return NULL;
}

static void wait_for_stores(void) {
    for (int i = 0; i < WRITERS; i++) {
        const int seen = writing[i];
        while (writing[i] - seen < 100)
            usleep(100);
    }
}

// Nobody may write: whatever changes now was written through a translation that is none any more.
static uint64_t changes(const volatile uint64_t* page) {
    uint64_t changed = 0, seen[WRITERS];
    for (int i = 0; i < WRITERS; i++)
        seen[i] = page[i];
    for (int look = 0; look < LOOKS; look++)
        for (int i = 0; i < WRITERS; i++)
            changed += page[i] != seen[i];
    return changed != 0;
}

static uint64_t rights(void) {
    uint64_t changed = 0;
    for (int round = 0; round < ROUNDS; round++) {
        lab_need(mprotect((void*)at, LAB_PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
        wait_for_stores();
        lab_need(mprotect((void*)at, LAB_PAGE, PROT_READ) == 0, "mprotect");
        changed += changes(at);
    }
    return changed;
}

// The page goes back while they write to it, and others get it: what they hold does not change.
static uint64_t pages(uint64_t seed) {
    uint64_t changed = 0;
    for (int round = 0; round < ROUNDS; round++) {
        lab_need(mmap((void*)at, LAB_PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == (void*)at,
                 "mmap");
        wait_for_stores();
        lab_need(mmap((void*)at, LAB_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                      0) == (void*)at,
                 "mmap");
        volatile uint64_t* others = lab_map(OTHERS);
        lab_fill(others, OTHERS, seed, round);
        const uint64_t sum = lab_sum(others, OTHERS);
        usleep(200);
        changed += lab_sum(others, OTHERS) != sum;
        lab_need(munmap((void*)others, OTHERS * LAB_PAGE) == 0, "munmap");
    }
    return changed;
}

int main(int argc, char** argv) {
    const uint64_t seed = lab_seed(argc, argv);
    lab_need(argc > 2, "rights or pages?");
    at = lab_map(1);
    lab_need(signal(SIGSEGV, refused) != SIG_ERR, "signal");
    pthread_t threads[WRITERS];
    for (int i = 0; i < WRITERS; i++)
        lab_need(pthread_create(&threads[i], NULL, writer, &writing[i]) == 0, "pthread_create");
    const uint64_t changed = strcmp(argv[2], "rights") == 0 ? rights() : pages(seed);
    over = 1;
    lab_need(mprotect((void*)at, LAB_PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
    for (int i = 0; i < WRITERS; i++)
        lab_need(pthread_join(threads[i], NULL) == 0, "pthread_join");
    lab_value("rounds", ROUNDS);
    lab_value("changed", changed);
    return 0;
}

// page_races [TIMES]: pages and page tables that one thread takes away while others use them. A new
// page is zeros, a page that has been cut off a file is in no memory any more, and all live on.
#include "../lib/proc.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>

enum { PAGE = 4096, TABLE = 512 * PAGE, RW = PROT_READ | PROT_WRITE };
enum { ANON = MAP_PRIVATE | MAP_ANONYMOUS, FIXED = ANON | MAP_FIXED | MAP_NORESERVE };

static int times = 1; // as much as usual

static unsigned draw(unsigned* seed, unsigned below) {
    *seed = *seed * 1103515245 + 12345;
    return (*seed >> 8) % below;
}

// ---- Accesses that may find nothing there -----------------------------------------------------

static __thread sigjmp_buf not_there;

static void give_up(int signo) {
    (void)signo;
    siglongjmp(not_there, 1);
}

static void allow_faults(void) {
    const struct sigaction action = {.sa_handler = give_up};
    need(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGBUS, &action, NULL) == 0);
}

// The byte there, after storing `value` unless that is negative; -1: there is no memory.
static int access_byte(volatile char* at, int value) {
    if (sigsetjmp(not_there, 1))
        return -1;
    if (value >= 0)
        *at = (char)value;
    return (unsigned char)*at;
}

static void start_thread(pthread_t* thread, void* (*body)(void*), long arg) {
    need(pthread_create(thread, NULL, body, (void*)arg) == 0);
}

// ---- Page tables that come and go -------------------------------------------------------------

enum { TABLES = 32, ROUNDS = 60, FRESH = 64 };
static char* tables; // TABLES of memory, from a multiple of TABLE
static volatile bool done_making;
static volatile long not_zero;

static void* use(void* arg) {
    for (unsigned seed = (unsigned)(long)arg; !done_making;)
        access_byte(tables + draw(&seed, TABLES) * TABLE + draw(&seed, 4) * PAGE,
                    draw(&seed, 2) ? 7 : -1);
    return NULL;
}

// What is given back is full, so that a store through a stale translation is seen, too.
static void* look_at_new_pages(void* own) {
    while (!done_making) {
        long* words = mmap(own, FRESH * PAGE, RW, ANON | MAP_FIXED, -1, 0);
        need(words == own);
        for (size_t i = 0; i < FRESH * PAGE / sizeof *words; i++)
            not_zero += words[i] != 0;
        memset(words, 0xff, FRESH * PAGE);
        need(munmap(own, FRESH * PAGE) == 0);
    }
    return NULL;
}

static void change_one(unsigned* seed) {
    char* at = tables + draw(seed, TABLES - 1) * TABLE;
    switch (draw(seed, 7)) {
    case 0:
    case 1: need(mmap(at, TABLE, RW, FIXED, -1, 0) == at); break;
    case 2: need(munmap(at, TABLE) == 0); break;
    case 3: mprotect(at, TABLE, PROT_READ); break;
    case 4: mprotect(at, TABLE, RW); break;
    case 5: madvise(at, 2 * TABLE, MADV_DONTNEED); break;
    case 6: {
        pid_t child = fork();
        need(child >= 0);
        if (child == 0) {
            for (int i = 0; i < TABLES; i++)
                access_byte(tables + i * TABLE, 1);
            _exit(0);
        }
        need(exited_with(reap(child), 0));
    }
    }
}

static void tables_come_and_go(void) {
    enum { USERS = 3 };
    allow_faults();
    char* at = mmap(NULL, (TABLES + 1) * (size_t)TABLE, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
    need(at != MAP_FAILED);
    tables = (char*)(((uintptr_t)at + TABLE - 1) & -(uintptr_t)TABLE);
    char* own = mmap(NULL, FRESH * PAGE, PROT_NONE, ANON, -1, 0); // before there are holes
    need(own != MAP_FAILED);
    pthread_t users[USERS], looker;
    for (int i = 0; i < USERS; i++)
        start_thread(&users[i], use, i + 1);
    start_thread(&looker, look_at_new_pages, (long)own);
    unsigned seed = 1;
    for (int i = 0; i < times * ROUNDS; i++)
        change_one(&seed);
    done_making = true;
    for (int i = 0; i < USERS; i++)
        pthread_join(users[i], NULL);
    pthread_join(looker, NULL);
    is(not_zero, 0, "words of new pages are zero");
}

// ---- A file that is cut off -------------------------------------------------------------------

enum { MAPPINGS = 100, STEPS = 500, FILE_PAGES = 4 };
static int file;

static void change_mapping(char** at, unsigned* seed) {
    const unsigned what = draw(seed, 11);
    switch (what) {
    case 0:
        need(munmap(*at, FILE_PAGES * PAGE) == 0);
        *at = NULL;
        break;
    case 1:
    case 2:
    case 3: access_byte(*at, (int)what); break;
    case 4: mprotect(*at, PAGE, draw(seed, 2) ? PROT_READ : RW); break;
    case 5: madvise(*at, PAGE, MADV_DONTNEED); break;
    case 6: need(ftruncate(file, draw(seed, FILE_PAGES + 1) * PAGE) == 0); break;
    case 7: access_byte(*at + PAGE, -1); break;
    case 8: mlock(*at, PAGE); break;
    case 9: munlock(*at, PAGE); break;
    case 10: {
        if (draw(seed, 16) != 0)
            break;
        pid_t child = fork();
        need(child >= 0);
        if (child == 0) {
            access_byte(*at, 9);
            _exit(0);
        }
        need(exited_with(reap(child), 0));
    }
    }
}

static void* map_and_cut(void* arg) {
    char* mapped[MAPPINGS] = {0};
    unsigned seed = (unsigned)(long)arg;
    for (int i = 0; i < times * STEPS; i++) {
        char** at = &mapped[draw(&seed, MAPPINGS)];
        if (*at != NULL) {
            change_mapping(at, &seed);
            continue;
        }
        *at = mmap(NULL, FILE_PAGES * PAGE, RW, draw(&seed, 2) ? MAP_SHARED : MAP_PRIVATE, file, 0);
        need(*at != MAP_FAILED);
    }
    return NULL;
}

static void map_in_two_threads(void* arg) {
    pthread_t other;
    start_thread(&other, map_and_cut, (long)arg + 100);
    map_and_cut(arg);
    pthread_join(other, NULL);
}

static void make_file(void) {
    file = memfd_create("cut", 0);
    need(file >= 0 && ftruncate(file, FILE_PAGES * PAGE) == 0);
}

static void cut_beside_faults(void) {
    enum { PROCESSES = 3 };
    pid_t children[PROCESSES];
    allow_faults();
    make_file();
    for (long i = 0; i < PROCESSES; i++)
        children[i] = spawn(map_in_two_threads, (void*)(i + 1));
    for (int i = 0; i < PROCESSES; i++)
        is_exit(reap(children[i]), 0, "process %d of those that share the file lives on", i);
    char* at = mmap(NULL, PAGE, RW, MAP_SHARED, file, 0);
    need(at != MAP_FAILED && ftruncate(file, 0) == 0);
    is(access_byte(at, -1), -1, "what is cut off is not there");
    need(ftruncate(file, PAGE) == 0);
    is(access_byte(at, -1), 0, "and is zeros when it comes again");
}

// One page, mapped very often by two processes: it is taken from all of them.
static void cut_from_all(void) {
    enum { PROCESSES = 2, OFTEN = 150 };
    struct gate mapped = gate_make(), cut = gate_make();
    pid_t children[PROCESSES];
    allow_faults();
    make_file();
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        need(children[i] >= 0);
        if (children[i] > 0)
            continue;
        static char* at[OFTEN];
        int gone = 0;
        for (int j = 0; j < OFTEN; j++) {
            at[j] = mmap(NULL, PAGE, RW, MAP_SHARED, file, 0);
            need(at[j] != MAP_FAILED && access_byte(at[j], 1) == 1);
        }
        gate_open(&mapped);
        gate_pass(&cut);
        for (int j = 0; j < OFTEN; j++)
            gone += access_byte(at[j], -1) == -1;
        _exit(gone == OFTEN ? 5 : 1);
    }
    for (int i = 0; i < PROCESSES; i++)
        gate_pass(&mapped);
    need(ftruncate(file, 0) == 0);
    for (int i = 0; i < PROCESSES; i++)
        gate_open(&cut);
    for (int i = 0; i < PROCESSES; i++)
        is_exit(reap(children[i]), 5, "it is in none of %d mappings any more", OFTEN);
}

int main(int argc, char** argv) {
    times = argc > 1 ? atoi(argv[1]) : 1;
    subtest("page tables that come and go", tables_come_and_go);
    subtest("a file cut off beside faults", cut_beside_faults);
    subtest("a page that is mapped very often", cut_from_all);
    return done();
}

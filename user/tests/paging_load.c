// Many programs at once that together have more memory than there is: each has what it stored, its
// child too, and all of them what they share; nobody is killed; and nothing is left of them.
// `paging_load PROGRAMS KIB`, for a machine with swap (tests/system/test_paging.py, make
// test-paging); without, a few.
#include "../lib/counts.h"
#include "../lib/pages.h"
#include "../lib/spork.h"

static int programs = 6;
static size_t pages = 16;
static uint64_t* shared; // a counter for each program, a page apart, and one that is everybody's

// What each program finds open: it goes on when all of them are there and have their memory.
enum { THERE_FD = 100, GO_FD };

// A program of its own, after exec.
static int one_program(int me) {
    enum { ROUNDS = 3 };
    char byte;
    uint64_t* at = map_pages(pages, MAP_PRIVATE);
    store(at, pages, 0);
    if (write(THERE_FD, "", 1) != 1 || read(GO_FD, &byte, 1) != 1 || wrong(at, pages, 0) != 0)
        return 5;
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        store(at, pages, round + (uint64_t)me);
        if (wrong(at, pages, round + (uint64_t)me) != 0)
            return 1;
        const pid_t child = fork();
        if (child < 0)
            return 2;
        if (child == 0) {
            store(at, pages / 2, 100 + (uint64_t)me);
            _exit(wrong(at, pages / 2, 100 + (uint64_t)me) != 0);
        }
        if (!exited_with(reap(child), 0))
            return 3;
        if (wrong(at, pages, round + (uint64_t)me) != 0)
            return 4;
    }
    return 0;
}

static void start_program(void* number) {
    const int me = (int)(intptr_t)number;
    char count[16], size[24], which[16];
    shared[(size_t)me * WORDS] += (uint64_t)me;
    __atomic_fetch_add(&shared[(size_t)programs * WORDS], 1, __ATOMIC_RELAXED);
    snprintf(count, sizeof count, "%d", programs);
    snprintf(size, sizeof size, "%zu", pages * PAGE / 1024);
    snprintf(which, sizeof which, "%d", me);
    execl("/proc/self/exe", "paging_load", count, size, which, NULL);
    _exit(99);
}

static int failed;
static struct gate there, go;

static void all_programs(const void* unused) {
    (void)unused;
    pid_t* pids = calloc((size_t)programs, sizeof *pids);
    need(pids != NULL);
    for (int i = 0; i < programs; i++)
        pids[i] = spawn(start_program, (void*)(intptr_t)i);
    for (int i = 0; i < programs; i++)
        gate_pass(&there);
    for (int i = 0; i < programs; i++)
        gate_open(&go);
    for (int i = 0; i < programs; i++) {
        const int status = reap(pids[i]);
        if (!exited_with(status, 0)) {
            diag("program %d: wait status 0x%x", i, status);
            failed++;
        }
    }
    free(pids);
}

int main(int argc, char** argv) {
    if (argc > 2) {
        programs = atoi(argv[1]);
        pages = (size_t)atoi(argv[2]) / 4;
    }
    if (argc > 3)
        return one_program(atoi(argv[3]));
    there = gate_make();
    go = gate_make();
    need(dup2(there.fd[1], THERE_FD) == THERE_FD && dup2(go.fd[0], GO_FD) == GO_FD);
    shared = map_pages((size_t)programs + 1, MAP_SHARED);
    int left = 0;
    uint64_t times = 1;
    if (on_spork()) {
        left = counts_left_by(all_programs, NULL);
        times = shared[(size_t)programs * WORDS] / (uint64_t)programs;
    } else {
        all_programs(NULL);
    }
    is(failed, 0, "%d programs of %zu KiB, each right", programs, pages * 4);
    size_t bad = shared[(size_t)programs * WORDS] != times * (uint64_t)programs;
    for (int i = 0; i < programs; i++)
        bad += shared[(size_t)i * WORDS] != times * (uint64_t)i;
    is(bad, 0, "nothing that they share is lost");
    is(left, 0, "nothing is left of them");
    return done();
}

// lab.h: memory whose contents the grader knows, and stages at which it looks at the machine from outside.
//
// The grader chooses `seed` at random. Page N of generation G begins with LAB_WORDS words that follow
// from seed, G and N, and from nothing that is in the program. At a stage the program waits, and the
// grader counts in the machine's memory the frames that begin so. It also works out the sums.
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LAB_PAGE = 4096, LAB_WORDS = 8, LAB_SECONDS = 60 };

static inline uint64_t lab_word(uint64_t seed, uint64_t generation, uint64_t page, uint64_t word) {
    uint64_t z = seed + (generation << 40 | page << 8 | word) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

// Ends the program with 1.
static inline void lab_need(int holds, const char* what) {
    if (holds)
        return;
    fprintf(stderr, "lab: %s\n", what);
    _exit(1);
}

static inline uint64_t lab_seed(int argc, char** argv) {
    lab_need(argc > 1, "which seed?");
    alarm(LAB_SECONDS); // ends a hang
    return strtoull(argv[1], NULL, 10);
}

static inline volatile uint64_t* lab_map(int pages) {
    void* at = mmap(NULL, (size_t)pages * LAB_PAGE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    lab_need(at != MAP_FAILED, "mmap");
    return at;
}

// Writes a generation into the first `pages` pages.
static inline void lab_fill(volatile uint64_t* at, int pages, uint64_t seed, int generation) {
    for (int page = 0; page < pages; page++)
        for (int word = 0; word < LAB_WORDS; word++)
            at[page * (LAB_PAGE / 8) + word] =
                lab_word(seed, (uint64_t)generation, (uint64_t)page, (uint64_t)word);
}

static inline uint64_t lab_sum(const volatile uint64_t* at, int pages) {
    uint64_t sum = 0;
    for (int page = 0; page < pages; page++)
        for (int word = 0; word < LAB_WORDS; word++)
            sum += at[page * (LAB_PAGE / 8) + word];
    return sum;
}

// No buffer is involved: a child of vfork may call these.
static inline void lab_value(const char* name, uint64_t value) {
    char line[80];
    int length = snprintf(line, sizeof line, "value %s %llu\n", name, (unsigned long long)value);
    lab_need(write(1, line, (size_t)length) == length, "write");
}

static inline void lab_stage(const char* name) {
    char line[80];
    int length = snprintf(line, sizeof line, "stage %s\n", name);
    lab_need(write(1, line, (size_t)length) == length && read(0, line, 1) == 1, "stage");
}

static inline void lab_reap(pid_t child) {
    int status = 0;
    lab_need(waitpid(child, &status, 0) == child && status == 0, "the child failed");
}

// growth N...: what one more mmap and munmap, a page fault, and a fork cost with N mappings, in
// ticks of the time-stamp counter; under instruction counting that is instructions. tools/growth
// runs it.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

enum { PAGE = 4096, SAMPLES = 64 };

static int fail(const char* what) {
    perror(what);
    exit(1);
}

// Neighbours differ in their protection: they stay mappings of their own.
static int prot_of(long i) { return i % 2 ? PROT_READ : PROT_READ | PROT_WRITE; }

static uint64_t cost_of_mmap(void) {
    uint64_t sum = 0;
    for (int i = 0; i < SAMPLES; i++) {
        uint64_t start = __rdtsc();
        void* p = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        sum += __rdtsc() - start;
        if (p == MAP_FAILED)
            fail("mmap");
        munmap(p, PAGE);
    }
    return sum / SAMPLES;
}

static uint64_t cost_of_munmap(void) {
    uint64_t sum = 0;
    for (int i = 0; i < SAMPLES; i++) {
        void* p = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            fail("mmap");
        uint64_t start = __rdtsc();
        munmap(p, PAGE);
        sum += __rdtsc() - start;
    }
    return sum / SAMPLES;
}

// Page faults of mappings all over the map. The page of zeros is mapped: nothing is allocated, for
// a neighbour keeps the page table; and no hint helps the lookup, which was last somewhere else.
static uint64_t cost_of_fault(char* area, long n) {
    uint64_t sum = 0;
    long number = n < SAMPLES ? n : SAMPLES;
    for (long i = 0; i < number; i++) {
        long place = i * 7919 % n;
        volatile char *at = area + place * PAGE, *neighbour = area + (place ^ 1) * PAGE;
        (void)*neighbour; // n is even
        madvise((void*)at, PAGE, MADV_DONTNEED);
        madvise(area + (place > 1 ? 0 : n - 1) * PAGE, PAGE, MADV_NORMAL);
        uint64_t start = __rdtsc();
        (void)*at;
        sum += __rdtsc() - start;
    }
    return sum / (uint64_t)number;
}

static uint64_t cost_of_fork(void) {
    uint64_t sum = 0;
    for (int i = 0; i < 3; i++) {
        uint64_t start = __rdtsc();
        long pid = syscall(SYS_fork);
        if (pid == 0)
            syscall(SYS_exit_group, 0);
        uint64_t end = __rdtsc();
        if (pid < 0)
            fail("fork");
        sum = i == 0 ? 0 : sum + (end - start); // the first one touches what stays touched
        waitpid((pid_t)pid, NULL, 0);
    }
    return sum / 2;
}

static void allow_many_mappings(void) {
    FILE* most = fopen("/proc/sys/vm/max_map_count", "w");
    if (!most || fprintf(most, "1000000\n") < 0 || fclose(most) != 0)
        fail("/proc/sys/vm/max_map_count");
}

int main(int argc, char** argv) {
    allow_many_mappings();
    puts("mappings,mmap,munmap,fault,fork");
    for (int i = 1; i < argc; i++) {
        long n = atol(argv[i]);
        char* area = mmap(NULL, (size_t)n * PAGE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (area == MAP_FAILED)
            fail("mmap");
        for (long k = 1; k < n; k += 2)
            if (mprotect(area + k * PAGE, PAGE, prot_of(k)) < 0)
                fail("mprotect");
        uint64_t map = cost_of_mmap(), unmap = cost_of_munmap(), fault = cost_of_fault(area, n);
        printf("%ld,%lu,%lu,%lu,%lu\n", n, map, unmap, fault, cost_of_fork());
        fflush(stdout);
        munmap(area, (size_t)n * PAGE);
    }
    return 0;
}

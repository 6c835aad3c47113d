// How long fork and vfork take, by how much memory the parent has written to.
//
// Each line: pages; then the median time of a call until it returns in the parent: of fork, and of
// vfork with a child that exits at once; then the time that the parent needs to write to all its
// pages once more after the fork's child has gone, and after the vfork's.
// Under --icount a nanosecond is one instruction, and two runs give the same numbers.
//
//   musl-gcc -static -O2 -o /tmp/fork_cost docs/experiments/fork_cost.c
//   tools/spork run --icount --add /tmp/fork_cost -- /fork_cost
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, ROUNDS = 5 };

static char* memory;

static long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static long write_pages(long pages) {
    long start = now();
    for (long i = 0; i < pages; i++)
        *(volatile char*)(memory + i * PAGE) = 1;
    return now() - start;
}

static int by_value(const void* a, const void* b) {
    long x = *(const long*)a, y = *(const long*)b;
    return (x > y) - (x < y);
}

static long median(long* values) {
    qsort(values, ROUNDS, sizeof *values, by_value);
    return values[ROUNDS / 2];
}

int main(void) {
    printf("%8s %12s %12s %16s %16s\n", "pages", "fork", "vfork", "writes after it", "after vfork");
    for (long pages = 0; pages <= 16384; pages = pages ? pages * 4 : 256) {
        size_t size = (size_t)(pages ? pages : 1) * PAGE;
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        write_pages(pages);
        long forks[ROUNDS], vforks[ROUNDS], after_fork[ROUNDS], after_vfork[ROUNDS];
        for (int i = 0; i < ROUNDS; i++) {
            long start = now();
            pid_t pid = fork();
            if (pid == 0)
                _exit(0);
            forks[i] = now() - start;
            waitpid(pid, NULL, 0);
            after_fork[i] = write_pages(pages);

            start = now();
            pid = vfork();
            if (pid == 0)
                _exit(0);
            vforks[i] = now() - start;
            waitpid(pid, NULL, 0);
            after_vfork[i] = write_pages(pages);
        }
        printf("%8ld %12ld %12ld %16ld %16ld\n", pages, median(forks), median(vforks),
               median(after_fork), median(after_vfork));
        munmap(memory, size);
    }
    return 0;
}

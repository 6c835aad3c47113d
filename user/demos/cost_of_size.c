// cost_of_size: what making a child costs, in each way, as the parent grows.
//
// cost_of_size [MIB...]. For each size the parent has so many MiB of memory that it has written to,
// and makes a child that exits at once. Then the parent writes to each of its pages again: after a
// copy-on-write fork that is a fault a page, even though the child is gone and nothing is copied.
//
//      copies     pages copied while the child is made      (the old fork)
//      faults     while the child is made and runs
//      after      faults of the parent's writes afterwards  (the bill of copy-on-write)
//
// Counts are Spork's (/proc/uvmexp); elsewhere there are only times.
#include "../lib/afork.h"
#include "../lib/spork.h"

#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

enum { PAGE = 4096, MIB = 1 << 20 };

static char stack[16384] __attribute__((aligned(16)));
static char* memory;
static size_t size;

static long now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static void write_all(void) {
    for (size_t at = 0; at < size; at += PAGE)
        memory[at]++;
}

static int nothing(void* arg) { return 0; }

static void by_fork(void) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
}

static void by_vfork(void) {
    pid_t pid = vfork();
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
}

static void by_afork(void) {
    struct afork_record record;
    pid_t pid;
    int fd = afork(stack, sizeof stack, nothing, NULL, AFORK_CLOEXEC, &pid);
    if (fd < 0)
        return;
    read(fd, &record, sizeof record);
    close(fd);
    waitpid(pid, NULL, 0);
}

static const struct way {
    const char* name;
    void (*make)(void);
    int fork_mode, vfork_mode;
    int spork_only;
} ways[] = {
    {"fork, copy", by_fork, FORK_COPY, VFORK_DEFAULT, 1},
    {"fork, cow", by_fork, FORK_COW, VFORK_DEFAULT, 0},
    {"fork, cow+pte", by_fork, FORK_COW_PTE, VFORK_DEFAULT, 1},
    {"vfork, cow", by_vfork, FORK_DEFAULT, VFORK_COW, 1},
    {"vfork, share", by_vfork, FORK_DEFAULT, VFORK_SHARE, 0},
    {"afork", by_afork, FORK_DEFAULT, VFORK_DEFAULT, 1},
};

static void measure(const struct way* way, long mib) {
    spork_forkmode(way->fork_mode, way->vfork_mode);
    way->make(); // once before, so that all is warm
    write_all();
    long copied = uvmexp("pages_copied"), faults = uvmexp("faults");
    long begin = now_us();
    way->make();
    long end = now_us();
    copied = uvmexp("pages_copied") - copied;
    faults = uvmexp("faults") - faults;
    long after = uvmexp("faults");
    write_all();
    after = uvmexp("faults") - after;
    printf("%8ld  %-14s %9ld", mib, way->name, end - begin);
    if (on_spork())
        printf(" %9ld %9ld %9ld", copied, faults, after);
    printf("\n");
}

int main(int argc, char** argv) {
    char* default_sizes[] = {"1", "4", "16", "64", NULL};
    char** sizes = argc > 1 ? argv + 1 : default_sizes;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    printf("%8s  %-14s %9s %9s %9s %9s\n", "MiB", "way", "us", "copies", "faults", "after");
    for (; *sizes != NULL; sizes++) {
        long mib = atol(*sizes);
        size = (size_t)mib * MIB;
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mib <= 0 || memory == MAP_FAILED) {
            fprintf(stderr, "cost_of_size: no memory of %s MiB\n", *sizes);
            return 1;
        }
        write_all();
        for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
            if (on_spork() || !ways[i].spork_only)
                measure(&ways[i], mib);
        munmap(memory, size);
    }
    return 0;
}

// paging: what a page costs that goes to swap and comes back.
//
// As bench.c, the first process of a machine that does nothing else, for Spork and for Linux; but the
// machine has less memory than the program uses, and a disk to swap to. While the disk works the
// processor is idle, and the time stamp counter runs on: what /proc/stat says of that is taken off,
// which is good to 10 ms of all passes.
//
//     row NAME MIB SAMPLES MEDIAN         instructions a page, pages that came in, or an operation's
//
// /bench.arguments: MiB of memory, the disk, and modules to load before (Linux's driver is one).
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, PASSES = 5, NANOSECONDS_PER_TICK = 10000000 };

static volatile char* memory;
static size_t pages;
static unsigned mib;

static uint64_t counter(void) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

static _Noreturn void end(const char* what) {
    printf("bench: %s: %s\n", what, strerror(errno));
    sync();
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}

// The number behind a word at the start of a line; 0 if there is none.
static uint64_t number_in(const char* path, const char* word, int field) {
    char line[256];
    uint64_t found = 0;
    FILE* f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, word, strlen(word)) != 0)
            continue;
        char* at = line + strlen(word);
        for (int i = 0; i < field; i++)
            found = strtoull(at, &at, 10);
        break;
    }
    if (f)
        fclose(f);
    return found;
}

// Instructions, which are nanoseconds here, without those in which the processor had nothing to do.
static uint64_t busy(void) {
    const uint64_t idle = number_in("/proc/stat", "cpu ", 4),
                   waits = number_in("/proc/stat", "cpu ", 5);
    return counter() - (idle + waits) * NANOSECONDS_PER_TICK;
}

static uint64_t came_in(void) {
    return number_in("/proc/uvmexp", "pgswapin ", 1) + number_in("/proc/vmstat", "pswpin ", 1);
}

static int by_value(const void* a, const void* b) {
    const uint64_t x = *(const uint64_t*)a, y = *(const uint64_t*)b;
    return (x > y) - (x < y);
}

static void row(const char* name, uint64_t* samples, size_t count, size_t each) {
    qsort(samples, count, sizeof samples[0], by_value);
    printf("row %s %u %zu %.1f\n", name, mib, count, (double)samples[count / 2] / (double)each);
}

static void passes(const char* name, const char* pages_name, void (*pass)(void)) {
    uint64_t cost[PASSES], in[PASSES];
    pass();
    for (int i = 0; i < PASSES; i++) {
        const uint64_t before = busy(), in_before = came_in();
        pass();
        in[i] = came_in() - in_before;
        cost[i] = busy() - before;
    }
    row(name, cost, PASSES, pages);
    row(pages_name, in, PASSES, 1);
}

static void read_in_order(void) {
    for (size_t i = 0; i < pages; i++)
        (void)memory[i * PAGE];
}

static void write_in_order(void) {
    for (size_t i = 0; i < pages; i++)
        memory[i * PAGE]++;
}

// Each page once, in another order each time: the factor is odd, and pages a power of two.
static void read_at_random(void) {
    static size_t factor = 2654435761u;
    factor = factor * 5 + 4;
    for (size_t i = 0; i < pages; i++)
        (void)memory[(i * (factor | 1) + factor / 7) % pages * PAGE];
}

static void child(bool by_vfork) {
    const pid_t pid = by_vfork ? vfork() : (pid_t)syscall(SYS_fork);
    if (pid == 0)
        _exit(0);
    if (pid < 0 || waitpid(pid, NULL, 0) != pid)
        end("a child");
}

static void children(const char* name, const char* pages_name, bool by_vfork) {
    uint64_t cost[PASSES], in[PASSES];
    for (int i = 0; i < PASSES; i++) {
        read_in_order();
        const uint64_t in_before = came_in(), before = counter();
        child(by_vfork);
        cost[i] = counter() - before;
        in[i] = came_in() - in_before;
    }
    row(name, cost, PASSES, 1);
    row(pages_name, in, PASSES, 1);
}

static void load(const char* module) {
    const int fd = open(module, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) != 0)
        end(module);
    close(fd);
}

int main(void) {
    char arguments[512] = "";
    setvbuf(stdout, NULL, _IOLBF, 0);
    const int fd = open("/bench.arguments", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, arguments, sizeof arguments - 1) < 0)
        end("/bench.arguments");
    mib = (unsigned)atoi(strtok(arguments, " \n"));
    const char* disk = strtok(NULL, " \n");
    for (const char* module; (module = strtok(NULL, " \n"));)
        load(module);
    (void)mount("proc", "/proc", "proc", 0, NULL); // they may be there
    (void)mount("dev", "/dev", "devtmpfs", 0, NULL);
    if (swapon(disk, 0) != 0)
        end(disk);
    pages = (size_t)mib << 8;
    memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        end("mmap");
    uint64_t first = busy();
    write_in_order();
    first = busy() - first;
    row("page_first_write", &first, 1, pages);
    passes("page_read", "pageins_read", read_in_order);
    passes("page_write", "pageins_write", write_in_order);
    passes("page_random", "pageins_random", read_at_random);
    children("fork_exit_out", "pageins_fork", false);
    children("vfork_exit_out", "pageins_vfork", true);
    printf("bench: done\n");
    sync();
    reboot(RB_POWER_OFF);
    return 0;
}

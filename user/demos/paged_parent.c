// paged_parent: what making a child costs a parent that is on disk.
//
// paged_parent [MIB [CHILDREN]]. The parent has so much memory, all of it written to, more than the machine has if
// there is swap, and puts it out (MADV_PAGEOUT) before each child. Each way is tried under the three
// modes of accounting; then, under the one that promises nothing, it is counted what comes in
//
//      exits      while the child is made, and exits
//      writes     while it writes to 256 of its pages before that, and how many are copied
//
// At the end so many CHILDREN live at the same time, if any are wanted.
//
// 3BSD's reason for vfork is in the first columns: fork has to find room for twice the parent, though
// the child will not write to it. What fork has to read is not the parent's memory: a page that is
// out is shared by its slot.
#include "../lib/afork.h"
#include "../lib/overcommit.h"
#include "../lib/spork.h"

#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

extern char** environ;

enum { PAGE = 4096, MIB = 1 << 20, WRITTEN = 256 };

static char stack[16384] __attribute__((aligned(16)));
static char* memory;
static size_t size;
static int writes; // whether the child does

static char* written_page(size_t i) { return memory + i * (size / WRITTEN & ~(size_t)(PAGE - 1)); }

static void child_work(void) {
    for (size_t i = 0; writes && i < WRITTEN; i++)
        ++*written_page(i);
}

static pid_t by_fork(void) {
    pid_t pid = fork();
    if (pid == 0) {
        child_work();
        _exit(0);
    }
    return pid;
}

static pid_t by_vfork(void) {
    pid_t pid = vfork();
    if (pid == 0) {
        child_work();
        _exit(0);
    }
    return pid;
}

static pid_t by_spawn(void) {
    char* argv[] = {"paged_parent", "child", NULL};
    pid_t pid = -1;
    errno = posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ);
    return errno == 0 ? pid : -1;
}

static int afork_child(void* unused) {
    child_work();
    return 0;
}

static pid_t by_afork(void) {
    pid_t pid = -1;
    int fd = afork(stack, sizeof stack, afork_child, NULL, AFORK_CLOEXEC, &pid);
    struct afork_record record;
    if (fd < 0)
        return -1;
    read(fd, &record, sizeof record);
    close(fd);
    return pid;
}

static const struct way {
    const char* name;
    pid_t (*make)(void);
    int fork_mode, vfork_mode;
} ways[] = {
    {"fork", by_fork, FORK_COW, VFORK_DEFAULT},
    {"fork, cow+pte", by_fork, FORK_COW_PTE, VFORK_DEFAULT},
    {"vfork of 4.4BSD", by_vfork, FORK_COW, VFORK_COW},
    {"vfork", by_vfork, FORK_DEFAULT, VFORK_SHARE},
    {"posix_spawn", by_spawn, FORK_DEFAULT, VFORK_SHARE},
    {"afork", by_afork, FORK_DEFAULT, VFORK_SHARE},
};

// How many of the parent's pages are in memory.
static size_t in_memory(void) {
    static unsigned char there[MIB];
    size_t count = 0;
    mincore(memory, size, there);
    for (size_t i = 0; i < size / PAGE; i++)
        count += there[i] & 1;
    return count;
}

static const char* attempt(const struct way* way) {
    madvise(memory, size, MADV_PAGEOUT);
    spork_forkmode(way->fork_mode, way->vfork_mode);
    pid_t pid = way->make();
    if (pid < 0)
        return errno == ENOMEM ? "ENOMEM" : strerror(errno);
    waitpid(pid, NULL, 0);
    return "a child";
}

static void try_way(const struct way* way) {
    printf("%-16s", way->name);
    for (const char* const* mode = (const char* const[]){"2", "0", "1", NULL}; *mode; mode++) {
        set_overcommit_mode(*mode);
        printf(" %9s", attempt(way));
    }
    for (writes = 0; writes != 2; writes++) {
        const long in = uvmexp("pgswapin"), copied = uvmexp("pages_copied");
        attempt(way);
        printf(" %9ld", uvmexp("pgswapin") - in);
        if (writes)
            printf(" %9ld", uvmexp("pages_copied") - copied);
    }
    writes = 0;
    printf("\n");
}

static void live_in_crowd(int number, int there, int gate) {
    char go;
    for (size_t i = 0; i < WRITTEN; i++)
        *written_page(i) = (char)number;
    close(there);       // and no sooner
    read(gate, &go, 1); // until nobody has the other end
    for (size_t i = 0; i < WRITTEN; i++)
        if (*written_page(i) != (char)number)
            _exit(1);
    _exit(0);
}

// Children that live at the same time, each with as much of its own memory.
static void crowd(int children) {
    int there[2], gate[2], made = 0, well = 0, status;
    const long out = uvmexp("pgswapout");
    char one;
    if (pipe(there) != 0 || pipe(gate) != 0)
        return;
    spork_forkmode(FORK_COW_PTE, VFORK_DEFAULT);
    for (; made < children; made++) {
        pid_t pid = fork();
        if (pid < 0)
            break;
        if (pid == 0) {
            close(gate[1]);
            live_in_crowd(made, there[1], gate[0]);
        }
    }
    close(there[1]);
    read(there[0], &one, 1); // until all have written, or are gone
    close(gate[1]);
    while (wait(&status) > 0)
        well += status == 0;
    printf("%d children at once, each with %d pages of its own: %d end well, %ld pages went out\n",
           made, WRITTEN, well, uvmexp("pgswapout") - out);
}

int main(int argc, char** argv) {
    const long mib = argc > 1 ? atol(argv[1]) : 16;
    if (mib <= 0)
        return 0; // posix_spawn's program
    setvbuf(stdout, NULL, _IONBF, 0);
    if (!on_spork()) {
        printf("needs Spork\n");
        return 0;
    }
    size = (size_t)mib * MIB;
    set_overcommit_mode("1");
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return 1;
    for (size_t at = 0; at < size; at += PAGE)
        memory[at] = 1;
    madvise(memory, size, MADV_PAGEOUT);
    printf("a parent of %ld pages, of which %zu are in memory\n", (long)(size / PAGE), in_memory());
    printf("%-16s %9s %9s %9s %9s %9s %9s\n", "", "strict", "heuristic", "always", "exits",
           "writes", "copies");
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        try_way(&ways[i]);
    if (argc > 2)
        crowd(atoi(argv[2]));
    return 0;
}

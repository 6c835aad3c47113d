// What the account shows of one process's memory and of its children's, read from /proc/meminfo.
#include "account.h"

static long promised(void) { return pages_of("Committed_AS:"); }

static void* map(long pages, int rights, int flags) {
    void* at = mmap(NULL, (size_t)pages * LAB_PAGE, rights, flags, -1, 0);
    lab_need(at != MAP_FAILED, "mmap");
    return at;
}

static void unmap(void* at, long pages) {
    lab_need(munmap(at, (size_t)pages * LAB_PAGE) == 0, "munmap");
}

static long distance(long a, long b) { return a < b ? b - a : a - b; }

enum { OWN = MAP_PRIVATE | MAP_ANONYMOUS, BOTH = PROT_READ | PROT_WRITE };

static void account(long pages) {
    const long base = promised();
    void* own = map(pages, BOTH, OWN);
    long wrong = distance(promised() - base, pages);
    void* read_only = map(pages, PROT_READ, OWN);
    wrong += distance(promised() - base, pages);
    lab_need(mprotect(read_only, 10 * LAB_PAGE, BOTH) == 0, "mprotect");
    wrong += distance(promised() - base, pages + 10);
    lab_value("mapped", (uint64_t)(promised() - base));
    unmap(own, pages / 2);
    wrong += distance(promised() - base, pages - pages / 2 + 10);
    unmap((char*)own + pages / 2 * LAB_PAGE, pages - pages / 2);
    unmap(read_only, pages);
    wrong += distance(promised(), base);
    lab_value("wrong", (uint64_t)wrong);
}

// What the account shows while a child lives: it says so by a byte, and ends when it gets one.
static long promised_with_child(pid_t (*start)(void), int go[2], int there[2]) {
    char byte = 0;
    pid_t child = start();
    lab_need(child >= 0, "fork");
    if (child == 0) {
        lab_need(write(there[1], &byte, 1) == 1 && read(go[0], &byte, 1) == 1, "pipe");
        _exit(0);
    }
    lab_need(read(there[0], &byte, 1) == 1, "pipe");
    const long seen = promised();
    lab_need(write(go[1], &byte, 1) == 1, "pipe");
    lab_reap(child);
    return seen;
}

static void forks(long pages) {
    int go[2], there[2];
    lab_need(pipe(go) == 0 && pipe(there) == 0, "pipe");
    const long without = promised_with_child(fork, go, there);
    const long base = promised();
    void* own = map(pages, BOTH, OWN);
    void* shared = map(50, BOTH, MAP_SHARED | MAP_ANONYMOUS);
    const long with = promised_with_child(fork, go, there);
    // The parent's own, and the child's; what is shared once.
    long wrong = distance(with - without, 2 * pages + 50);
    lab_value("forked", (uint64_t)(with - without));
    wrong += distance(promised() - base, pages + 50);
    volatile long lent = 0;
    pid_t child = vfork();
    lab_need(child >= 0, "vfork");
    if (child == 0) {
        lent = promised();
        _exit(0);
    }
    lab_reap(child);
    wrong += distance(lent - base, pages + 50);
    unmap(own, pages);
    unmap(shared, 50);
    wrong += distance(promised(), base);
    lab_value("wrong", (uint64_t)wrong);
}

static void strict(long pages) {
    // Room for this process and three quarters of it again.
    void* own = map(pages, BOTH, OWN);
    const long base = promised();
    set("/proc/sys/vm/overcommit_kbytes", 4 * (base + pages * 3 / 4));
    set("/proc/sys/vm/overcommit_memory", 2);
    errno = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    lab_value("refused", child < 0 && errno == ENOMEM);
    if (child > 0)
        lab_reap(child);
    long wrong = distance(promised(), base);
    child = vfork();
    if (child == 0)
        _exit(0);
    lab_value("lent", child > 0);
    if (child > 0)
        lab_reap(child);
    unmap(own, pages);
    child = fork(); // what has gone is there for it
    if (child == 0)
        _exit(0);
    wrong += child < 0;
    if (child > 0)
        lab_reap(child);
    lab_value("wrong", (uint64_t)wrong);
}

int main(int argc, char** argv) {
    const uint64_t seed = lab_seed(argc, argv);
    lab_need(argc > 2, "account, fork or strict?");
    const long pages = 1000 + (long)(seed % 3000);
    if (strcmp(argv[2], "account") == 0)
        account(pages);
    else if (strcmp(argv[2], "fork") == 0)
        forks(pages);
    else
        strict(pages);
    return 0;
}

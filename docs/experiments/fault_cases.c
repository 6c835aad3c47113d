// One fault of each kind, and the counters that it moves. docs/faults.md explains them.
//
//   musl-gcc -static -O2 -o /tmp/fault_cases docs/experiments/fault_cases.c
//   tools/spork run --append norandmaps --add /tmp/fault_cases -- /fault_cases
#include "uvmexp.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { PAGE = 4096, PAGES = 64 };

static sigjmp_buf escape;
static volatile int code;

static void on_segv(int signo, siginfo_t* info, void* context) {
    (void)signo, (void)context;
    code = info->si_code;
    siglongjmp(escape, 1);
}

static void load(char* at) { (void)*(volatile char*)at; }

static void store(char* at) { *(volatile char*)at = 1; }

static char* map(int prot, int flags, int fd) {
    char* at = mmap(NULL, PAGES * PAGE, prot, flags, fd, 0);
    if (at == MAP_FAILED)
        exit(1);
    return at;
}

static void segv(char* at, int write, const char* step) {
    if (sigsetjmp(escape, 1) == 0) {
        if (write)
            store(at);
        else
            load(at);
    }
    show(step);
    printf("    si_code %d\n", code);
}

int main(void) {
    const int rw = PROT_READ | PROT_WRITE, anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
    struct sigaction action = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    int fd = open("/tmp/file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (int i = 0; i < PAGES; i++)
        if (write(fd, "x", 1) != 1 || lseek(fd, PAGE - 1, SEEK_CUR) < 0)
            return 1;
    if (ftruncate(fd, PAGES * PAGE) < 0)
        return 1;
    begin();

    char* memory = map(rw, anonymous, -1);
    load(memory);
    show("read of untouched memory: the page of zeros");
    store(memory);
    show("write to it: 2B, zeros; the first write of the mapping makes its amap");
    store(memory + PAGE);
    show("write to the next page, untouched: 2B, zeros");

    char* shared = map(rw, MAP_SHARED, fd);
    load(shared + 8 * PAGE);
    show("read of a shared mapping of a file: 2A, and its neighbours by fault-ahead");
    store(shared + 8 * PAGE);
    show("write to the same page: 2A again, the file's own page, now writable");
    char* private = map(rw, MAP_PRIVATE, fd);
    load(private + 8 * PAGE);
    show("read of a private mapping of the file: 2A, the file's own page, read-only");
    store(private + 8 * PAGE);
    show("write to it: 2B, a copy of the file's page");
    madvise(private, PAGES * PAGE, MADV_RANDOM);
    load(private + 32 * PAGE);
    show("read of another page after MADV_RANDOM: 2A without fault-ahead");
    madvise(private, PAGES * PAGE, MADV_SEQUENTIAL);
    load(private + 48 * PAGE);
    show("read of another page after MADV_SEQUENTIAL: 2A with more of it");

    pid_t pid = fork();
    if (pid == 0) {
        show("fork, and what the child needs to get here");
        load(memory);
        show("the child reads the parent's page: 1A, and a neighbour");
        store(memory);
        show("the child writes to it: 1B; the first write of the entry copies the amap");
        store(memory + PAGE);
        show("the child writes to the next page: 1B");
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    take(&before);
    store(memory);
    show("the child is gone; the parent writes: 1A, nobody else has the page");

    segv((char*)PAGE, 0, "read where nothing is mapped");
    mprotect(memory, PAGE, PROT_READ);
    segv(memory, 1, "write to a page that is read-only");
    return 0;
}

// A test of the kernel: ends with 0 if all is as it must be, and says what is not.
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, BOTH = PROT_READ | PROT_WRITE, OWN = MAP_PRIVATE | MAP_ANONYMOUS };

static void need(int holds, const char* what) {
    if (holds)
        return;
    printf("not ok %s\n", what);
    exit(1);
}

static void* map_at(void* where, size_t pages, int flags) {
    void* at = mmap(where, pages * PAGE, BOTH, OWN | flags, -1, 0);
    need(at != MAP_FAILED, "there is memory to be had");
    return at;
}

static char* map(size_t pages) { return map_at(NULL, pages, 0); }

static void fill(char* at, size_t pages, char with) {
    for (size_t page = 0; page < pages; page++)
        at[page * PAGE] = (char)(with + (char)page);
}

static int holds(const char* at, size_t pages, char with) {
    for (size_t page = 0; page < pages; page++)
        if (at[page * PAGE] != (char)(with + (char)page))
            return 0;
    return 1;
}

static int in_child(int (*does)(char*), char* at) {
    pid_t child = fork();
    need(child >= 0, "fork");
    if (child == 0)
        _exit(does(at));
    int status;
    need(waitpid(child, &status, 0) == child, "wait");
    return status;
}

// The page is there and was written to before its right goes: in the page table, too.
static int loses_and_writes(char* at) {
    at[0] = 1;
    if (mprotect(at, PAGE, PROT_READ))
        return 0;
    at[0] = 2;
    return 0;
}

static void rights_go(void) {
    char* at = map(1);
    const int status = in_child(loses_and_writes, at);
    need(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "a right that was taken away is gone");
    need(munmap(at, PAGE) == 0, "munmap");
}

static int turns_and_writes(char* at) {
    if (!holds(at, 8, 5)) // now it has what the parent has
        return 1;
    if (mprotect(at, 8 * PAGE, PROT_READ) || mprotect(at, 8 * PAGE, BOTH))
        return 1;
    fill(at, 8, 77);
    return 0;
}

static void rights_do_not_join(void) {
    char* at = map(8);
    fill(at, 8, 5);
    need(in_child(turns_and_writes, at) == 0, "mprotect in a child");
    need(holds(at, 8, 5), "what a child writes after mprotect is its own");
    need(munmap(at, 8 * PAGE) == 0, "munmap");
}

static void unmap_from_a_hole(void) {
    char* at = map(9);
    need(munmap(at, 3 * PAGE) == 0, "munmap");
    need(munmap(at, 6 * PAGE) == 0, "munmap over a hole");
    need(mmap(at + 3 * PAGE, 3 * PAGE, BOTH, OWN | MAP_FIXED_NOREPLACE, -1, 0) == at + 3 * PAGE,
         "what was unmapped from a hole on is free");
    need(munmap(at + 3 * PAGE, 6 * PAGE) == 0, "munmap");
}

static void parts_are_given_back(void) {
    for (int round = 0; round < 8; round++) { // four times the machine's memory
        const size_t pages = 16384;
        char* at = map(pages);
        fill(at, pages, 1);
        need(munmap(at + PAGE, (pages - 1) * PAGE) == 0, "munmap of a part");
    }
}

static volatile int ran;

static int on_its_stack(void* unused) {
    (void)unused;
    usleep(20000);
    ran = 1;
    return 0;
}

static void vfork_waits_on_any_stack(void) {
    char* stack = map(16);
    pid_t child = clone(on_its_stack, stack + 16 * PAGE, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    need(child > 0, "clone");
    need(ran, "the parent waits, though the child has a stack of its own");
    need(waitpid(child, NULL, 0) == child, "wait");
}

static int reads_halves(char* at) { return !holds(at, 12, 9); }

static void halves_stay(void) {
    char* at = map(12);
    fill(at, 12, 9);
    need(mprotect(at + 6 * PAGE, 6 * PAGE, PROT_READ) == 0, "mprotect");
    need(in_child(reads_halves, at) == 0, "a mapping in two parts is inherited as it was");
    need(holds(at, 12, 9), "and stays as it was");
}

int main(void) {
    rights_go();
    rights_do_not_join();
    unmap_from_a_hole();
    vfork_waits_on_any_stack();
    halves_stay();
    parts_are_given_back();
    return 0;
}

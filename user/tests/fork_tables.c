// fork of whole page tables: threads go on writing meanwhile, on several processors, and what they
// write never shows in a child, is never lost in the parent, and comes back when the child is gone.
#include "../lib/fault.h"
#include "../lib/proc.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { PAGE = 4096, TABLE = 512 * PAGE, TABLES = 3, PAGES = TABLES * 512, THREADS = 3, FORKS = 12 };
enum { RW = PROT_READ | PROT_WRITE };

// Memory from the border of a page table on, all written to; the mapping has more on both sides,
// untouched.
static char* map_tables(void) {
    char* at = mmap(NULL, (TABLES + 2) * TABLE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(at != MAP_FAILED);
    char* first = (char*)(((uintptr_t)at + TABLE) & ~(uintptr_t)(TABLE - 1));
    for (int i = 0; i < PAGES; i++)
        first[i * PAGE] = 1;
    return first;
}

static char* memory;
static atomic_bool stop;

static atomic_ullong* word(int page, int thread) {
    return (atomic_ullong*)(memory + page * PAGE + 64 * (thread + 1));
}

// Adds one to its word of each page, in turn, and returns how often it did.
static void* add(void* number) {
    int me = (int)(intptr_t)number;
    uintptr_t rounds = 0;
    for (; !atomic_load(&stop); rounds++)
        for (int i = 0; i < PAGES; i += 7)
            atomic_fetch_add(word(i, me), 1);
    return (void*)rounds;
}

// What all of them have written.
static uint64_t sum(void) {
    uint64_t all = 0;
    for (int i = 0; i < PAGES; i += 7)
        for (int t = 0; t < THREADS; t++)
            all += atomic_load(word(i, t));
    return all;
}

static void threads_write_while_it_forks(void) {
    memory = map_tables();
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        need(pthread_create(&threads[i], NULL, add, (void*)(intptr_t)i) == 0);
    while (sum() == 0) // until they are at it
        sched_yield();
    int right = 0;
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = fork();
        need(pid >= 0);
        if (pid == 0) {
            uint64_t then = sum(); // reads alone: what it sees are the parent's pages
            bool good = sum() == then;
            for (int page = 0; page < PAGES; page += 7)
                atomic_fetch_add(word(page, i % THREADS), 1);
            good = good && sum() == then + (PAGES + 6) / 7 && memory[PAGE] == 1;
            _exit(good ? 0 : 1);
        }
        right += exited_with(reap(pid), 0);
    }
    ok(right == FORKS, "no child sees what its parent writes later");
    atomic_store(&stop, true);
    uint64_t added = 0;
    for (int i = 0; i < THREADS; i++) {
        void* rounds;
        need(pthread_join(threads[i], &rounds) == 0);
        added += (uintptr_t)rounds * ((PAGES + 6) / 7);
    }
    ok(added > 0 && sum() == added, "no store of the parent's is lost");
    need(munmap(memory, PAGES * PAGE) == 0);
}

// The parent writes while the child lives: copies. Then it is alone again.
static void what_a_child_has_stays_as_it_was(void) {
    char* at = map_tables();
    int go[2], done[2];
    need(pipe(go) == 0 && pipe(done) == 0);
    pid_t pid = fork();
    need(pid >= 0);
    if (pid == 0) {
        char c;
        at[5 * PAGE] = 50; // a page of its own
        bool good = write(done[1], "d", 1) == 1 && read(go[0], &c, 1) == 1;
        for (int i = 0; i < PAGES; i++)
            good = good && at[i * PAGE] == (i == 5 ? 50 : 1);
        _exit(good ? 0 : 1);
    }
    char c;
    need(read(done[0], &c, 1) == 1);
    for (int i = 0; i < PAGES; i += 3)
        at[i * PAGE] = 2;
    at[5 * PAGE] = 2; // it has the page alone: the child has a copy
    need(write(go[1], "g", 1) == 1);
    is_exit(reap(pid), 0, "the child has every page as it was at the fork");
    bool good = true;
    for (int i = 0; i < PAGES; i++) {
        good = good && at[i * PAGE] == (i % 3 == 0 || i == 5 ? 2 : 1);
        at[i * PAGE] = 3;
    }
    ok(good, "the parent what it wrote");
    pid = fork();
    need(pid >= 0);
    if (pid == 0)
        _exit(at[0] == 3 && at[(PAGES - 1) * PAGE] == 3 ? 0 : 1);
    is_exit(reap(pid), 0, "and the next child what is there then");
    need(munmap(at, PAGES * PAGE) == 0);
}

// mprotect of whole tables; of a part of one, where the rest must not get anything back.
static void rights_of_a_part(void) {
    char* at = map_tables();
    need(mprotect(at, PAGES * PAGE, PROT_READ) == 0);
    is_fault(store_fault(at + 700 * PAGE), SIGSEGV, SEGV_ACCERR, at + 700 * PAGE,
             "a store to a table that is read-only");
    need(mprotect(at + 700 * PAGE, 100 * PAGE, RW) == 0);
    ok(store_fault(at + 750 * PAGE).signo == 0, "a part may be written again");
    ok(store_fault(at + 699 * PAGE).signo == SIGSEGV &&
           store_fault(at + 800 * PAGE).signo == SIGSEGV,
       "what is beside it in the table may not");
    int zero = open("/dev/zero", O_RDONLY);
    need(zero >= 0);
    ok(read(zero, at + 512 * PAGE, PAGE) == -1 && errno == EFAULT, "nor by the kernel");
    ok(read(zero, at + 701 * PAGE, PAGE) == PAGE, "which may write the part");
    close(zero);
    need(mprotect(at, PAGES * PAGE, RW) == 0);
    bool good = true;
    for (int i = 0; i < PAGES; i++)
        good = good && store_fault(at + i * PAGE + 8).signo == 0;
    ok(good, "everything, when all is allowed");
    need(munmap(at, PAGES * PAGE) == 0);
}

// A page that is read and locked comes into a table that may not be written: nothing else changes.
static void locked_pages_open_no_table(void) {
    char* at = map_tables();
    need(munmap(at + 3 * PAGE, PAGE) == 0);
    need(mmap(at + 3 * PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
         at + 3 * PAGE);
    need(mprotect(at, TABLE, PROT_READ) == 0);
    need(mlock(at, TABLE) == 0);
    ok(at[3 * PAGE] == 0 && store_fault(at + 7 * PAGE).signo == SIGSEGV,
       "what is read-only stays so when it is locked");
    need(munlock(at, TABLE) == 0 && mprotect(at, TABLE, RW) == 0);
    // After a fork, one that comes by a read; the child waits for a byte.
    need(mprotect(at + 3 * PAGE, PAGE, PROT_NONE) == 0 && mprotect(at + 3 * PAGE, PAGE, RW) == 0);
    int go[2];
    need(pipe(go) == 0);
    pid_t pid = fork();
    need(pid >= 0);
    if (pid == 0) {
        char c;
        need(read(go[0], &c, 1) == 1);
        _exit(at[0] == 1 && at[7 * PAGE] == 1 ? 0 : 1);
    }
    need(syscall(SYS_mlock2, at, TABLE, 1 /* MLOCK_ONFAULT */) == 0);
    ok(((volatile char*)at)[3 * PAGE] == 0, "a page is read that is locked as it comes");
    at[0] = at[7 * PAGE] = 2;
    need(write(go[1], "g", 1) == 1);
    is_exit(reap(pid), 0, "the child has what there was");
    need(munmap(at, PAGES * PAGE) == 0);
}

int main(void) {
    fault_catch(0);
    subtest("threads write while it forks", threads_write_while_it_forks);
    subtest("what a child has stays as it was", what_a_child_has_stays_as_it_was);
    subtest("rights of a part", rights_of_a_part);
    subtest("locked pages open no table", locked_pages_open_no_table);
    return done();
}

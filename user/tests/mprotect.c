// mprotect: what it forbids and allows, where it splits a mapping, and what fork makes of it.
#include "../lib/fault.h"
#include "../lib/proc.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { PAGE = 4096, PAGES = 8, RW = PROT_READ | PROT_WRITE };

static char* map_filled(void) {
    char* at = mmap(NULL, PAGES * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(at != MAP_FAILED);
    for (int i = 0; i < PAGES; i++)
        at[i * PAGE] = (char)('a' + i);
    return at;
}

// What each page allows: w(rite), r(ead) or nothing, as a string. Stores what it finds there.
static const char* picture(char* at) {
    static char text[PAGES + 1];
    for (int i = 0; i < PAGES; i++) {
        char* page = at + i * PAGE;
        text[i] = store_fault(page + 9).signo == 0 ? 'w' : load_fault(page).signo == 0 ? 'r' : '-';
    }
    return text;
}

static bool intact(char* at) {
    for (int i = 0; i < PAGES; i++)
        if (at[i * PAGE] != 'a' + i)
            return false;
    return true;
}

static void protect(char* at, int first, int pages, int protection) {
    need(mprotect(at + first * PAGE, (size_t)pages * PAGE, protection) == 0);
}

static void splits(void) {
    char* at = map_filled();
    protect(at, 2, 2, PROT_READ);
    is_str(picture(at), "wwrrwwww", "read-only in the middle");
    protect(at, 3, 3, PROT_NONE);
    is_str(picture(at), "wwr---ww", "nothing over the edge of it");
    protect(at, 4, 1, RW);
    is_str(picture(at), "wwr-w-ww", "one page of that back");
    protect(at, 0, PAGES, PROT_READ);
    is_str(picture(at), "rrrrrrrr", "all read-only again");
    protect(at, 0, PAGES, RW);
    is_str(picture(at), "wwwwwwww", "all writable again");
    ok(intact(at), "the pages kept what was in them");
}

static void exact_faults(void) {
    char* at = map_filled();
    protect(at, 1, 1, PROT_READ);
    protect(at, 2, 1, PROT_NONE);
    is_fault(store_fault(at + PAGE), SIGSEGV, SEGV_ACCERR, at + PAGE, "store to a read-only page");
    is_fault(load_fault(at + 3 * PAGE - 1), SIGSEGV, SEGV_ACCERR, at + 3 * PAGE - 1,
             "load from a page that allows nothing");
    is_errno(pipe((int*)(at + PAGE)), EFAULT, "the kernel does not write there either");
}

static void errors(void) {
    char* at = map_filled();
    is_errno(syscall(SYS_mprotect, at + 1, PAGE, PROT_READ), EINVAL, "within a page");
    is_errno(mprotect(at, PAGE, 0x100), EINVAL, "protection that is none");
    is(mprotect(at, 0, PROT_NONE), 0, "no length does nothing");
    need(munmap(at + 2 * PAGE, PAGE) == 0);
    is_errno(mprotect(at + 2 * PAGE, PAGE, PROT_READ), ENOMEM, "where nothing is mapped");
    is_errno(mprotect(at, 4 * PAGE, PROT_READ), ENOMEM, "over a hole");
    is(at[3 * PAGE], 'd', "what is behind the hole is whole");
    is_fault(store_fault(at + PAGE), SIGSEGV, SEGV_ACCERR, at + PAGE,
             "what is before the hole has changed");
    is_fault(store_fault(at + 3 * PAGE), 0, 0, NULL, "what is behind it has not");
    is_errno(mprotect(at + 2 * PAGE, 2 * PAGE, PROT_READ), ENOMEM, "from a hole on");
    is_fault(store_fault(at + 3 * PAGE), 0, 0, NULL, "nothing has changed");
}

// Making pages writable again after a fork must not undo the copying (they are still shared).
static void writable_after_fork(void) {
    char* at = map_filled();
    protect(at, 0, PAGES, PROT_READ);
    struct gate stored = gate_make(), checked = gate_make();
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        protect(at, 0, PAGES, RW);
        for (int i = 0; i < PAGES; i++)
            at[i * PAGE] = 'C';
        gate_open(&stored);
        gate_pass(&checked);
        for (int i = 0; i < PAGES; i++)
            need(at[i * PAGE] == 'C');
        _exit(0);
    }
    gate_pass(&stored);
    ok(intact(at), "read-only at fork, writable in the child: its stores are its own");
    protect(at, 0, PAGES, RW);
    memset(at, 'P', PAGES * PAGE);
    gate_open(&checked);
    is_exit(reap(child), 0, "and the parent's are its own");
}

static void toggled_after_fork(void) {
    char* at = map_filled();
    struct gate go = gate_make();
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        gate_pass(&go);
        _exit(intact(at) ? 0 : 1);
    }
    protect(at, 0, PAGES, PROT_READ);
    protect(at, 0, PAGES, RW); // both before the first store since the fork
    for (int i = 0; i < PAGES; i++)
        at[i * PAGE] = 'P';
    gate_open(&go);
    is_exit(reap(child), 0, "to read-only and back after a fork: the child's pages are untouched");
}

// A mapping that was split, then forked: each part is copied, and none is shared or lost.
static void split_then_fork(void) {
    char* at = map_filled();
    protect(at, 2, 3, PROT_READ);
    protect(at, 6, 1, PROT_NONE);
    struct gate stored = gate_make(), checked = gate_make();
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        need(strcmp(picture(at), "wwrrrw-w") == 0);
        protect(at, 0, PAGES, RW);
        need(intact(at));
        for (int i = 0; i < PAGES; i++)
            at[i * PAGE] = 'C';
        gate_open(&stored);
        gate_pass(&checked);
        for (int i = 0; i < PAGES; i++)
            need(at[i * PAGE] == 'C');
        _exit(0);
    }
    gate_pass(&stored);
    is_str(picture(at), "wwrrrw-w", "the child's changes of protection are its own");
    protect(at, 0, PAGES, RW);
    ok(intact(at), "no store of the child's is in any part");
    memset(at, 'P', PAGES * PAGE);
    gate_open(&checked);
    is_exit(reap(child), 0, "and none of the parent's in the child's");
}

// Split after the fork, while all is still shared.
static void fork_then_split(void) {
    char* at = map_filled();
    struct gate go = gate_make();
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        gate_pass(&go);
        need(intact(at));
        protect(at, 3, 1, PROT_READ);
        need(strcmp(picture(at), "wwwrwwww") == 0);
        _exit(0);
    }
    protect(at, 1, 2, PROT_READ);
    at[0] = 'P';
    at[5 * PAGE] = 'P';
    need(munmap(at + 3 * PAGE, 2 * PAGE) == 0);
    gate_open(&go);
    is_exit(reap(child), 0, "the parent splits and unmaps: the child has all");
    is_str(picture(at), "wrr--www", "the parent has what it made");
    is(at[PAGE] + at[7 * PAGE], 'b' + 'h', "with what was there");
}

static void code(void) {
    unsigned char* at = mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(at != MAP_FAILED);
    memcpy(at, (unsigned char[]){0xb8, 7, 0, 0, 0, 0xc3}, 6); // mov $7, %eax; ret
    protect((char*)at, 0, 1, PROT_READ | PROT_EXEC);
    is(((int (*)(void))(uintptr_t)at)(), 7, "written, then made executable, it runs");
    is_fault(store_fault(at), SIGSEGV, SEGV_ACCERR, at, "and is not writable");
    protect((char*)at, 0, 1, RW);
    at[1] = 8;
    protect((char*)at, 0, 1, PROT_READ | PROT_EXEC);
    is(((int (*)(void))(uintptr_t)at)(), 8, "changed, it runs as changed");
}

static void (*runs)(void);
static volatile sig_atomic_t running, forbidden, ran_after;
static sigjmp_buf out;

static void leave(int signo) {
    (void)signo;
    siglongjmp(out, 1);
}

static void* run_until_it_faults(void* unused) {
    (void)unused;
    if (sigsetjmp(out, 1) == 0)
        for (;;) {
            const bool late = forbidden;
            runs();
            running = 1;
            if (late) {
                ran_after = 1;
                break;
            }
        }
    return NULL;
}

// Code that nobody has written here: no right but the one to run it is taken.
static void code_that_runs_elsewhere(void) {
    FILE* file = tmpfile();
    need(file != NULL && write(fileno(file), "\xc3", 1) == 1); // ret
    char* at = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fileno(file), 0);
    need(at != MAP_FAILED && signal(SIGSEGV, leave) != SIG_ERR);
    runs = (void (*)(void))(uintptr_t)at;
    pthread_t thread;
    need(pthread_create(&thread, NULL, run_until_it_faults, NULL) == 0);
    need(eventually(running));
    protect(at, 0, 1, PROT_READ);
    forbidden = 1;
    need(pthread_join(thread, NULL) == 0);
    is(ran_after, 0, "code that another thread runs does not run any more when mprotect is back");
}

static void relro(void) {
    static char data[3 * PAGE] __attribute__((aligned(4096))) = "data";
    protect(data, 1, 1, PROT_READ);
    is_fault(store_fault(data + PAGE), SIGSEGV, SEGV_ACCERR, data + PAGE,
             "part of the program's data made read-only");
    is_fault(store_fault(data), 0, 0, 0, "the part before it is not");
    is_fault(store_fault(data + 2 * PAGE), 0, 0, 0, "nor the part behind it");
}

int main(void) {
    fault_catch(0);
    subtest("splits", splits);
    subtest("faults", exact_faults);
    subtest("errors", errors);
    subtest("read-only at fork, then writable", writable_after_fork);
    subtest("read-only and back after fork", toggled_after_fork);
    subtest("split, then forked", split_then_fork);
    subtest("forked, then split", fork_then_split);
    subtest("code", code);
    subtest("code that runs elsewhere", code_that_runs_elsewhere);
    subtest("the program's own data", relro);
    return done();
}

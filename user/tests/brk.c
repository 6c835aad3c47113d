// brk: the heap's end moves up and down, and after a fork each process moves its own.
#include "../lib/fault.h"
#include "../lib/proc.h"

#include <sys/mman.h>
#include <sys/syscall.h>

enum { PAGE = 4096, PAGES = 16 };

static uintptr_t set_brk(uintptr_t to) { return (uintptr_t)syscall(SYS_brk, to); }

// The heap's end, at a whole page, grown by PAGES pages with a letter in each.
static char* grown(void) {
    uintptr_t start = (set_brk(0) + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
    need(set_brk(start + PAGES * PAGE) == start + PAGES * PAGE);
    char* at = (char*)start;
    for (int i = 0; i < PAGES; i++)
        at[i * PAGE] = (char)('a' + i);
    return at;
}

static void grow_and_shrink(void) {
    char* at = grown();
    const uintptr_t start = (uintptr_t)at;
    is(set_brk(0), start + PAGES * PAGE, "brk(0) says where the end is");
    is(at[PAGES * PAGE - 1], 0, "new pages are zero");
    is(set_brk(start + 4 * PAGE), start + 4 * PAGE, "shrunk");
    is_fault(load_fault(at + 4 * PAGE), SIGSEGV, SEGV_MAPERR, at + 4 * PAGE, "what is cut is gone");
    is(at[3 * PAGE], 'd', "what is left is whole");
    is(set_brk(start + 8 * PAGE), start + 8 * PAGE, "grown again");
    is(at[5 * PAGE], 0, "with zeros");
    is(set_brk(start + 8 * PAGE + 100), start + 8 * PAGE + 100, "to within a page");
    at[8 * PAGE + 99] = 'z';
    is(set_brk(start + 8 * PAGE + 50), start + 8 * PAGE + 50, "back within the same page");
    is(set_brk(start), start, "back to its start");
    is_fault(load_fault(at), SIGSEGV, SEGV_MAPERR, at, "nothing is left");
}

static void refused(void) {
    const uintptr_t now = set_brk(0);
    is(set_brk(1), now, "below its start: no change");
    is(set_brk(now + (1ul << 46)), now, "beyond all memory: no change");
    uintptr_t start = (now + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
    void* wall = mmap((void*)(start + 4 * PAGE), PAGE, PROT_READ,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    need(wall == (void*)(start + 4 * PAGE));
    is(set_brk(start + 8 * PAGE), now, "into a mapping: no change");
    is(set_brk(start + PAGE), start + PAGE, "up to it there is room");
}

// Shrinking after a fork gives back the process's own pages, not those the other still has.
static void shrunk_after_fork(bool child_shrinks) {
    char* at = grown();
    struct gate shrunk = gate_make(), grown_again = gate_make();
    pid_t child = fork();
    need(child >= 0);
    const bool shrinks = (child == 0) == child_shrinks;
    if (shrinks) {
        need(set_brk((uintptr_t)at + 2 * PAGE) == (uintptr_t)at + 2 * PAGE);
        gate_open(&shrunk);
        need(load_fault(at + 2 * PAGE).signo == SIGSEGV);
        need(set_brk((uintptr_t)at + PAGES * PAGE) == (uintptr_t)at + PAGES * PAGE);
        for (int i = 2; i < PAGES; i++) {
            need(at[i * PAGE] == 0);
            at[i * PAGE] = 'N';
        }
        need(at[PAGE] == 'b');
        gate_open(&grown_again);
    } else {
        gate_pass(&shrunk);
        for (int i = 0; i < PAGES; i++)
            need(at[i * PAGE] == 'a' + i);
        need(set_brk(0) == (uintptr_t)at + PAGES * PAGE);
        gate_pass(&grown_again);
        for (int i = 0; i < PAGES; i++)
            need(at[i * PAGE] == 'a' + i);
        memset(at, 'M', PAGES * PAGE);
    }
    if (child == 0)
        _exit(0);
    is_exit(reap(child), 0, "the other process keeps every page, before and after it grows again");
}

static void child_shrinks(void) { shrunk_after_fork(true); }

static void parent_shrinks(void) { shrunk_after_fork(false); }

static void vfork_moves_it(void) {
    char* at = grown();
    static uintptr_t end;
    end = (uintptr_t)at + PAGES * PAGE;
    pid_t child = vfork();
    if (child == 0) {
        _exit(syscall(SYS_brk, end + PAGE) == (long)(end + PAGE) ? 0 : 1);
    }
    is_exit(reap(child), 0, "a vfork child moves the end");
    is(set_brk(0), end + PAGE, "which is its parent's too");
}

int main(void) {
    fault_catch(0);
    subtest("grow and shrink", grow_and_shrink);
    subtest("refused", refused);
    subtest("the child shrinks its heap", child_shrinks);
    subtest("the parent shrinks its heap", parent_shrinks);
    subtest("vfork", vfork_moves_it);
    return done();
}

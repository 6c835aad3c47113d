// mremap: growing and shrinking in place, moving, to a fixed place, leaving the old place behind,
// of shared and private memory and of files.
#include "../lib/fault.h"
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

enum { PAGE = 4096, RW = PROT_READ | PROT_WRITE, ANON = MAP_PRIVATE | MAP_ANONYMOUS };

// `pages` pages, the first byte of each a letter, with nothing behind them.
static char* map_letters(int pages, int flags) {
    char* at = mmap(NULL, 64 * PAGE, RW, flags, -1, 0);
    need(at != MAP_FAILED);
    for (int i = 0; i < pages; i++)
        at[i * PAGE] = (char)('a' + i);
    need(munmap(at + pages * PAGE, (64 - pages) * PAGE) == 0);
    return at;
}

static bool has_letters(const char* at, int pages) {
    for (int i = 0; i < pages; i++)
        if (at[i * PAGE] != 'a' + i)
            return false;
    return true;
}

static void in_place(void) {
    char* at = map_letters(4, ANON);
    is(mremap(at, 4 * PAGE, 6 * PAGE, 0), at, "there is room to grow");
    ok(has_letters(at, 4), "what was there stays");
    is(at[4 * PAGE] | at[6 * PAGE - 1], 0, "what is new is zeros");
    at[5 * PAGE] = 'f';
    is(mremap(at, 6 * PAGE, 5 * PAGE, 0), at, "shrinking");
    is_fault(load_fault(at + 5 * PAGE), SIGSEGV, SEGV_MAPERR, at + 5 * PAGE, "the rest is gone");
    is(mremap(at, 5 * PAGE, 6 * PAGE, 0), at, "growing again");
    is(at[5 * PAGE], 0, "does not bring it back");
    is(mremap(at, 6 * PAGE, 6 * PAGE, 0), at, "to the size that it has");
    need(mmap(at + 6 * PAGE, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0) == at + 6 * PAGE);
    is_errno(mremap(at, 6 * PAGE, 8 * PAGE, 0), ENOMEM, "something is in the way");
    ok(has_letters(at, 4), "nothing has changed");
    is(mremap(at, 3 * PAGE - 10, 2 * PAGE - 10, 0), at, "sizes are rounded up");
}

static void moving(void) {
    char* at = map_letters(4, ANON);
    need(mmap(at + 4 * PAGE, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0) == at + 4 * PAGE);
    char* to = mremap(at, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
    ok(to != MAP_FAILED && to != at, "it moves when there is no room");
    ok(has_letters(to, 4), "with what was in it");
    is(to[7 * PAGE], 0, "the rest is zeros");
    is_fault(load_fault(at), SIGSEGV, SEGV_MAPERR, at, "nothing is left behind");
    // The middle of a mapping.
    to[2 * PAGE + 1] = 'm';
    char* middle = mremap(to + 2 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
    need(middle != MAP_FAILED);
    is(middle[1], 'm', "a page in the midst of a mapping");
    is_fault(load_fault(to + 2 * PAGE), SIGSEGV, SEGV_MAPERR, to + 2 * PAGE, "leaves a hole");
    is(to[3 * PAGE], 'd', "and its neighbours");
    // After a fork: each side has its own.
    pid_t child = fork();
    if (child == 0) {
        char* there = mremap(to, 2 * PAGE, 20 * PAGE, MREMAP_MAYMOVE);
        need(there != MAP_FAILED && there[0] == 'a' && there[PAGE] == 'b');
        there[0] = 'C';
        _exit(there[0]);
    }
    is_exit(reap(child), 'C', "a child moves its copy");
    is(to[0], 'a', "the parent's is where and what it was");
}

static void fixed(void) {
    char* at = map_letters(4, ANON);
    char* to = map_letters(8, ANON);
    to[PAGE] = 'x';
    is(mremap(at, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to + PAGE), to + PAGE,
       "to a place that is taken");
    ok(has_letters(to + PAGE, 4), "replaces what is there");
    is(to[0], 'a', "but not before it");
    is(to[5 * PAGE], 'f', "nor behind it");
    is_errno(mremap(to, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to + 2 * PAGE), EINVAL,
             "over itself");
    is_errno(mremap(to, PAGE, PAGE, MREMAP_FIXED, at), EINVAL, "MREMAP_FIXED alone");
    is_errno(mremap(to, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at + 1), EINVAL,
             "to within a page");
    is(mremap(to + PAGE, 4 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at), at,
       "smaller at its new place");
    ok(has_letters(at, 2), "with what fits");
    is_fault(load_fault(to + 3 * PAGE), SIGSEGV, SEGV_MAPERR, to + 3 * PAGE, "the rest is gone");
}

static void left_behind(void) {
    char* at = map_letters(3, ANON);
    char* to = mremap(at, 3 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    ok(to != MAP_FAILED && to != at, "MREMAP_DONTUNMAP");
    ok(has_letters(to, 3), "the pages are at the new place");
    is(at[0] | at[PAGE] | at[2 * PAGE], 0, "the old one is mapped, and empty");
    at[0] = 'z';
    is(to[0], 'a', "they are two");
    is_errno(mremap(at, 3 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL), EINVAL,
             "not with another size");
    is_errno(mremap(at, 3 * PAGE, 3 * PAGE, MREMAP_DONTUNMAP, NULL), EINVAL,
             "not without MREMAP_MAYMOVE");
    char* shared = map_letters(2, MAP_SHARED | MAP_ANONYMOUS);
    to = mremap(shared, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    need(to != MAP_FAILED);
    ok(has_letters(to, 2) && has_letters(shared, 2), "of shared memory both places have all of it");
    to[1] = 's';
    is(shared[1], 's', "as one");
}

static void shared(void) {
    char* at = map_letters(4, MAP_SHARED | MAP_ANONYMOUS);
    char* twin = mremap(at, 0, 4 * PAGE, MREMAP_MAYMOVE);
    need(twin != MAP_FAILED);
    ok(twin != at && has_letters(twin, 4), "an old size of 0 makes a second mapping");
    twin[2 * PAGE] = 'T';
    is(at[2 * PAGE], 'T', "of the same memory");
    is_errno(mremap(map_letters(1, ANON), 0, PAGE, MREMAP_MAYMOVE), EINVAL,
             "not of private memory");
    char* longer = mremap(at, 4 * PAGE, 6 * PAGE, MREMAP_MAYMOVE);
    need(longer != MAP_FAILED);
    is(longer[2 * PAGE], 'T', "it can be made longer");
    char* whole = mmap(NULL, 4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(whole != MAP_FAILED);
    whole = mremap(whole, 4 * PAGE, 6 * PAGE, MREMAP_MAYMOVE);
    need(whole != MAP_FAILED);
    is_fault(load_fault(whole + 4 * PAGE), SIGBUS, BUS_ADRERR, whole + 4 * PAGE,
             "but there is no more memory than there was");
    pid_t child = fork();
    if (child == 0) {
        char* there = mremap(longer, 4 * PAGE, 5 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
                             mmap(NULL, 8 * PAGE, PROT_NONE, ANON, -1, 0));
        need(there != MAP_FAILED);
        there[3 * PAGE] = 'K';
        _exit(0);
    }
    is_exit(reap(child), 0, "a child moves it");
    is(longer[3 * PAGE], 'K', "and still shares it");
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    need(fd >= 0 && ftruncate(fd, 4 * PAGE) == 0 && pwrite(fd, "f", 1, 3 * PAGE) == 1);
    char* file = mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, PAGE);
    need(file != MAP_FAILED);
    file = mremap(file, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE);
    need(file != MAP_FAILED);
    is(file[2 * PAGE], 'f', "a file's mapping goes on with the file");
    char* copy = mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, 2 * PAGE);
    need(copy != MAP_FAILED);
    copy[5] = 'p';
    copy = mremap(copy, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
    need(copy != MAP_FAILED);
    ok(copy[5] == 'p' && copy[PAGE] == 'f', "so does a private one, with its copies");
}

static void errors(void) {
    char* at = map_letters(4, ANON);
    is_errno(mremap(at + 1, PAGE, PAGE, 0), EINVAL, "from within a page");
    is_errno(mremap(at, PAGE, 0, 0), EINVAL, "to nothing");
    is_errno(mremap(at, PAGE, PAGE, 16), EINVAL, "a flag that is none");
    is_errno(mremap(at + 4 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT, "where nothing is");
    is_errno(mremap(at, 5 * PAGE, 6 * PAGE, MREMAP_MAYMOVE), EFAULT, "more than there is");
    need(mprotect(at + 2 * PAGE, PAGE, PROT_READ) == 0);
    is_errno(mremap(at, 4 * PAGE, 6 * PAGE, MREMAP_MAYMOVE), EFAULT, "two mappings");
    ok(has_letters(at, 4), "all is as it was");
    struct rlimit none_more = {8ul << 20, 8ul << 20};
    need(setrlimit(RLIMIT_AS, &none_more) == 0);
    is_errno(mremap(at, PAGE, 9ul << 20, MREMAP_MAYMOVE), ENOMEM, "beyond RLIMIT_AS");
    ok(has_letters(at, 4), "all is as it was");
}

int main(void) {
    fault_catch(0);
    scratch_begin();
    subtest("in place", in_place);
    subtest("moving", moving);
    subtest("a fixed place", fixed);
    subtest("what is left behind", left_behind);
    subtest("shared memory and files", shared);
    subtest("errors", errors);
    return done();
}

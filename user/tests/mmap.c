// mmap and munmap of anonymous memory: where mappings go, what is in them, what is left when a part
// is unmapped. Mappings of files are in mmap_file.c.
#include "../lib/fault.h"
#include "../lib/proc.h"

#include <sys/mman.h>

enum { PAGE = 4096, RW = PROT_READ | PROT_WRITE, ANON = MAP_PRIVATE | MAP_ANONYMOUS };

static char* map(size_t pages) {
    char* at = mmap(NULL, pages * PAGE, RW, ANON, -1, 0);
    need(at != MAP_FAILED);
    return at;
}

// Whether a page can be read.
static bool mapped(const void* page) { return load_fault(page).signo == 0; }

// Which of a range's pages are mapped, as a string of 1 and 0.
static const char* picture(char* at, int pages) {
    static char text[64];
    for (int i = 0; i < pages; i++)
        text[i] = mapped(at + i * PAGE) ? '1' : '0';
    text[pages] = 0;
    return text;
}

static void anonymous(void) {
    char* at = map(64);
    is((uintptr_t)at % PAGE, 0, "mmap gives whole pages");
    unsigned any = 0;
    for (int i = 0; i < 64 * PAGE; i++)
        any |= (unsigned char)at[i];
    is(any, 0, "of zeros");
    memset(at, 'x', 64 * PAGE);
    is(munmap(at, 64 * PAGE), 0, "munmap");
    is(at, mmap(at, 64 * PAGE, RW, ANON, -1, 0), "a free place is given when asked for");
    any = 0;
    for (int i = 0; i < 64 * PAGE; i++)
        any |= (unsigned char)at[i];
    is(any, 0, "what was there before is not there now");
    at = mmap(NULL, 100, RW, ANON, -1, 0);
    need(at != MAP_FAILED);
    at[PAGE - 1] = 1;
    ok(true, "a length is rounded up to whole pages");
    is(munmap(at, 1), 0, "for munmap too");
    ok(!mapped(at), "and the page is gone");
}

static void hints_and_fixed(void) {
    char *at = map(8), *other;
    memset(at, 'o', 8 * PAGE);
    other = mmap(at + PAGE, PAGE, RW, ANON, -1, 0);
    ok(other != MAP_FAILED && (other < at || other >= at + 8 * PAGE),
       "a hint that is taken is not used");
    is(at[PAGE], 'o', "and what is there stays");
    is(munmap(at + 4 * PAGE, 4 * PAGE), 0, "with the upper half free");
    is(mmap(at + 4 * PAGE + 7, PAGE, RW, ANON, -1, 0), at + 4 * PAGE,
       "a hint within a free page gives that page");

    is(mmap(at + 2 * PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0), at + 2 * PAGE, "MAP_FIXED");
    is(at[2 * PAGE], 0, "replaces what was there");
    is(at[2 * PAGE - 1], 'o', "but not before it");
    is(at[3 * PAGE], 'o', "nor behind it");
    is_errno(mmap(at + 5, PAGE, RW, ANON | MAP_FIXED, -1, 0), EINVAL, "MAP_FIXED within a page");
    is_errno(mmap(at, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0), EEXIST,
             "MAP_FIXED_NOREPLACE where something is");
    is_errno(mmap(at - PAGE, 3 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0), EEXIST,
             "or that ends in something");
    is(at[0], 'o', "which it leaves alone");
    is(mmap(at + 6 * PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0), at + 6 * PAGE,
       "MAP_FIXED_NOREPLACE where nothing is");
}

static void errors(void) {
    is_errno(mmap(NULL, 0, RW, ANON, -1, 0), EINVAL, "no length");
    is_errno(mmap(NULL, PAGE, RW, MAP_ANONYMOUS, -1, 0), EINVAL, "neither private nor shared");
    is_errno(mmap(NULL, PAGE, RW, MAP_PRIVATE, -1, 0), EBADF, "no descriptor");
    is_errno(mmap(NULL, 1ul << 47, RW, ANON, -1, 0), ENOMEM, "more than there are addresses");
    is_errno(munmap((void*)(PAGE + 1), PAGE), EINVAL, "munmap within a page");
    char* at = map(1);
    is_errno(munmap(at, 0), EINVAL, "munmap of nothing");
    need(munmap(at, PAGE) == 0);
    is(munmap(at, PAGE), 0, "munmap where nothing is does nothing, well");
}

static void holes(void) {
    char* at = map(16);
    need(munmap(at, 16 * PAGE) == 0);
    fault_catch(0);
    need(mmap(at, 12 * PAGE, RW, ANON | MAP_FIXED, -1, 0) == at);
    for (int i = 0; i < 12; i++)
        at[i * PAGE] = (char)('a' + i);

    need(munmap(at + 4 * PAGE, 2 * PAGE) == 0);
    is_str(picture(at, 12), "111100111111", "munmap in the middle leaves both sides");
    is(at[3 * PAGE], 'd', "with what was in them before");
    is(at[6 * PAGE], 'g', "and behind");
    need(munmap(at + 5 * PAGE, 2 * PAGE) == 0);
    is_str(picture(at, 12), "111100011111", "munmap that begins in a hole");
    need(munmap(at + 3 * PAGE, 2 * PAGE) == 0);
    is_str(picture(at, 12), "111000011111", "munmap that ends in a hole");
    need(munmap(at + 2 * PAGE, 6 * PAGE) == 0);
    is_str(picture(at, 12), "110000001111", "munmap over a hole");
    need(munmap(at + 9 * PAGE, 1 * PAGE) == 0);
    need(munmap(at + 8 * PAGE, 3 * PAGE) == 0);
    is_str(picture(at, 12), "110000000001", "munmap over two mappings and a hole");
    is(at[PAGE] + at[11 * PAGE], 'b' + 'l', "what is left is what it was");

    need(mmap(at + 2 * PAGE, 9 * PAGE, RW, ANON | MAP_FIXED, -1, 0) == at + 2 * PAGE);
    is_str(picture(at, 12), "111111111111", "the hole is filled");
    bool zero = true;
    for (int i = 2; i < 11; i++)
        zero = zero && at[i * PAGE] == 0;
    ok(zero, "with zeros: the pages of the part that was unmapped are gone");
    is(munmap(at, 12 * PAGE), 0, "all of it can be unmapped at once");
    is_str(picture(at, 12), "000000000000", "and is");
}

static void none(void) {
    fault_catch(0);
    char* at = mmap(NULL, 1ul << 36, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
    need(at != MAP_FAILED);
    is_fault(load_fault(at), SIGSEGV, SEGV_ACCERR, at, "64 GB of PROT_NONE can be had, not read");
    char* part = mmap(at + (1ul << 35), PAGE, RW, ANON | MAP_FIXED, -1, 0);
    is(part, at + (1ul << 35), "a page in the midst of it");
    is_fault(store_fault(part), 0, 0, 0, "can be written");
    is_fault(store_fault(part + PAGE), SIGSEGV, SEGV_ACCERR, part + PAGE, "the next one cannot");
    is(munmap(at, 1ul << 36), 0, "and all can be given back");
}

static void shared(void) {
    volatile int* word = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(word != MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        pid_t grandchild = fork();
        if (grandchild == 0)
            _exit((*word = 5) - 5);
        _exit(WEXITSTATUS(reap(grandchild)) + (*word == 5 ? 0 : 1));
    }
    is_exit(reap(child), 0, "a grandchild's store is seen by the child");
    is(*word, 5, "and by the parent");
    child = fork();
    if (child == 0)
        _exit(munmap((void*)word, PAGE));
    is_exit(reap(child), 0, "the child unmaps it");
    is(*word, 5, "the parent still has it");
}

static void discard(void) {
    char* at = map(4);
    memset(at, 'd', 4 * PAGE);
    is(madvise(at + PAGE, 2 * PAGE, MADV_DONTNEED), 0, "MADV_DONTNEED");
    is(at[PAGE], 0, "gives zeros");
    is(at[0] + at[3 * PAGE], 2 * 'd', "there, and only there");
    is_errno(madvise(at + 1, PAGE, MADV_DONTNEED), EINVAL, "within a page");
    is_errno(madvise(at, PAGE, 12345), EINVAL, "advice that is none");
}

// More mappings than any small table holds.
static void many(void) {
    enum { COUNT = 2000 };
    char* at = map(2 * COUNT);
    for (int i = 0; i < COUNT; i++)
        need(munmap(at + (2 * i + 1) * PAGE, PAGE) == 0);
    for (int i = 0; i < COUNT; i++)
        at[2 * i * PAGE] = (char)i;
    bool right = true;
    for (int i = COUNT - 1; i >= 0; i--)
        right = right && at[2 * i * PAGE] == (char)i;
    ok(right, "%d mappings, each with its own page", COUNT);
    char* other = map(2);
    ok(other < at || other >= at + 2 * COUNT * PAGE, "two pages are not put into a hole of one");
    is(munmap(at, 2 * COUNT * PAGE), 0, "all are unmapped at once");
}

int main(void) {
    fault_catch(0);
    subtest("anonymous memory", anonymous);
    subtest("hints and fixed addresses", hints_and_fixed);
    subtest("errors", errors);
    subtest("holes", holes);
    subtest("PROT_NONE", none);
    subtest("shared memory", shared);
    subtest("MADV_DONTNEED", discard);
    subtest("many mappings", many);
    return done();
}

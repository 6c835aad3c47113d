// What a program says of pages that it needs no more, or soon: MADV_COLD, MADV_PAGEOUT,
// MADV_WILLNEED, MADV_FREE and process_madvise. With the word "swap" there is some, and pages go out
// (tests/system/test_paging.py); without it the calls answer the same, and the pages may stay.
#include "../lib/fault.h"
#include "../lib/proc.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#ifndef MADV_COLD
enum { MADV_COLD = 20, MADV_PAGEOUT = 21 };
#endif
enum { PAGE = 4096, PAGES = 64, SIZE = PAGES * PAGE, RW = PROT_READ | PROT_WRITE };

static bool swap;

// Between pages of another kind, so that it is one line of smaps.
static char* memory(int flags) {
    char* at = mmap(NULL, SIZE + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(at != MAP_FAILED);
    at = mmap(at + PAGE, SIZE, RW, flags | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    need(at != MAP_FAILED);
    for (int i = 0; i < PAGES; i++)
        memset(at + i * PAGE, i + 1, PAGE);
    return at;
}

static int wrong(const char* at) {
    int bad = 0;
    for (int i = 0; i < PAGES; i++)
        bad += at[i * PAGE] != i + 1 || at[i * PAGE + PAGE - 1] != i + 1;
    return bad;
}

static int there(char* at) {
    unsigned char in[PAGES];
    int n = 0;
    need(mincore(at, SIZE, in) == 0);
    for (int i = 0; i < PAGES; i++)
        n += in[i] & 1;
    return n;
}

// A line of smaps for the mapping at `at`, in KiB.
static long smaps(const char* at, const char* field) {
    char line[512], start[32], format[64];
    long kib = -1;
    bool here = false;
    FILE* f = fopen("/proc/self/smaps", "r");
    need(f != NULL);
    snprintf(start, sizeof start, "%lx-", (long)at);
    snprintf(format, sizeof format, "%s: %%ld", field);
    while (kib < 0 && fgets(line, sizeof line, f))
        if (strncmp(line, start, strlen(start)) == 0)
            here = true;
        else if (here)
            (void)!sscanf(line, format, &kib);
    fclose(f);
    return kib;
}

static void goes_and_comes(int flags) {
    char* at = memory(flags);
    is(madvise(at, SIZE, MADV_COLD), 0, "cold");
    is(there(at), PAGES, "cold pages stay while there is memory");
    is(madvise(at, SIZE, MADV_PAGEOUT), 0, "put out");
    if (swap) {
        is(there(at), 0, "none is in memory");
        is(smaps(at, "Swap"), SIZE / 1024, "smaps has them in swap");
        is(smaps(at, "SwapPss"), flags == MAP_PRIVATE ? SIZE / 1024 : 0, "as its own");
        is(madvise(at, SIZE / 2, MADV_WILLNEED), 0, "half of them will be needed");
        ok(there(at) >= PAGES / 2, "and are there");
    }
    is(wrong(at), 0, "with what they had");
    at[0] = 77;
    is(madvise(at, SIZE, MADV_PAGEOUT), 0, "put out again");
    is(at[0], 77, "what was stored since is there");
    need(munmap(at, SIZE) == 0);
}

static void private_memory(void) { goes_and_comes(MAP_PRIVATE); }
static void shared_memory(void) { goes_and_comes(MAP_SHARED); }

// A child that has what there is at `at`, and looks at it when the pipe is closed.
static pid_t child_with(const char* at, int ends[2]) {
    char c;
    need(pipe(ends) == 0);
    const pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        need(close(ends[1]) == 0 && read(ends[0], &c, 1) == 0);
        _exit(wrong(at));
    }
    return child;
}

static void others_have_it(void) {
    char* at = memory(MAP_PRIVATE);
    int ends[2];
    const pid_t child = child_with(at, ends);
    is(wrong(at), 0, "the parent reads");
    is(madvise(at, SIZE, MADV_PAGEOUT), 0, "pages that a child has, too");
    is(there(at), PAGES, "stay");
    need(close(ends[1]) == 0);
    ok(exited_with(reap(child), 0), "the child has what there was");
    need(munmap(at, SIZE) == 0);
}

// A child has the same slots, without having been given a page table.
static void shares_of_swap(void) {
    char* at = memory(MAP_PRIVATE);
    int ends[2];
    is(madvise(at, SIZE, MADV_PAGEOUT), 0, "put out");
    const pid_t child = child_with(at, ends);
    if (swap) {
        is(smaps(at, "Swap"), SIZE / 1024, "the parent has them in swap");
        is(smaps(at, "SwapPss"), SIZE / 1024 / 2, "its share of them is one half");
    }
    need(close(ends[1]) == 0);
    ok(exited_with(reap(child), 0), "the child has what there was");
    if (swap)
        ok(smaps(at, "SwapPss") == smaps(at, "Swap"), "then all that is there is its own");
    need(munmap(at, SIZE) == 0);
}

// Whose file it is not, and who may not write to it, might learn by it who else uses its pages: for him they
// stay, though nobody else has them mapped. Whether they are there after his advice.
static int file;

static void advise_file(void* user) {
    const uid_t uid = (uid_t)(uintptr_t)user;
    need(setgid(uid) == 0 && setuid(uid) == 0);
    char* at = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, file, 0);
    need(at != MAP_FAILED && wrong(at) == 0 && madvise(at, SIZE, MADV_PAGEOUT) == 0);
    const int left = there(at);
    need(wrong(at) == 0);
    _exit(left == PAGES ? 3 : left == 0 ? 4 : 5);
}

static void files(void) {
    if (geteuid() != 0)
        return skip("only the superuser can be two users");
    file = open("/tmp/page_advice.data", O_RDWR | O_CREAT | O_TRUNC, 0644);
    need(file >= 0 && ftruncate(file, SIZE) == 0 && unlink("/tmp/page_advice.data") == 0);
    char* at = mmap(NULL, SIZE, RW, MAP_SHARED, file, 0);
    need(at != MAP_FAILED);
    for (int i = 0; i < PAGES; i++)
        memset(at + i * PAGE, i + 1, PAGE);
    need(munmap(at, SIZE) == 0);
    is_exit(status_of(advise_file, (void*)1000), 3, "the pages of another's file stay");
    const int status = status_of(advise_file, NULL);
    ok(!swap || exited_with(status, 4), "those of one's own go");
    need(fchmod(file, 0666) == 0);
    const int other = status_of(advise_file, (void*)1000);
    ok(!swap || exited_with(other, 4), "and those of one that may be written to");
    need(close(file) == 0);
}

// Private pages of a file, as many as are looked at at once, which hide those of the file.
static void two_layers(void) {
    enum { MANY = 256 * PAGE };
    const int fd = memfd_create("advice", 0);
    need(fd >= 0 && ftruncate(fd, MANY) == 0);
    char* file = mmap(NULL, MANY, RW, MAP_SHARED, fd, 0);
    char* mine = mmap(NULL, MANY, RW, MAP_PRIVATE, fd, 0);
    need(file != MAP_FAILED && mine != MAP_FAILED);
    memset(file, 1, MANY);
    memset(mine, 2, MANY);
    is(madvise(mine, MANY, MADV_COLD), 0, "cold");
    is(madvise(mine, MANY, MADV_PAGEOUT), 0, "out");
    is(madvise(file, MANY, MADV_PAGEOUT), 0, "and the file's");
    is(madvise(mine, MANY, MADV_WILLNEED), 0, "needed");
    int bad = 0;
    for (int i = 0; i < MANY; i += PAGE)
        bad += mine[i] != 2 || file[i] != 1;
    is(bad, 0, "both have what they had");
    need(munmap(file, MANY) == 0 && munmap(mine, MANY) == 0 && close(fd) == 0);
}

static void no_longer_needed(void) {
    char* at = memory(MAP_PRIVATE);
    is(madvise(at, SIZE, MADV_FREE), 0, "free");
    at[PAGE] = 5;
    if (swap)
        is(smaps(at, "LazyFree"), SIZE / 1024 - 4, "all but one may be lost");
    is(madvise(at, SIZE, MADV_PAGEOUT), 0, "put out");
    int bad = 0;
    for (int i = 0; i < PAGES; i++)
        bad += i != 1 && at[i * PAGE] != 0 && at[i * PAGE] != i + 1;
    is(bad, 0, "a page has what it had, or zeros");
    is(at[PAGE], 5, "what was stored since stays");
    if (swap)
        is(at[5 * PAGE], 0, "and the rest is gone");
    at[5 * PAGE] = 6;
    is(madvise(at, SIZE, MADV_PAGEOUT), 0, "put out again");
    is(at[5 * PAGE], 6, "with what was stored");
    need(munmap(at, SIZE) == 0);
}

static void errors(void) {
    const int words[] = {MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED};
    char* at = memory(MAP_PRIVATE);
    need(munmap(at + 4 * PAGE, PAGE) == 0);
    for (int i = 0; i < 3; i++) {
        is(madvise((void*)(1ul << 60), 0, words[i]), 0, "%d: nothing, nowhere", words[i]);
        is_errno(madvise(at + 1, PAGE, words[i]), EINVAL, "%d: in the middle of a page", words[i]);
        is_errno(madvise(at, SIZE, words[i]), ENOMEM, "%d: over a hole", words[i]);
        is(madvise(at, 0, words[i]), 0, "%d: nothing", words[i]);
    }
    is_errno(madvise((void*)(1ul << 60), PAGE, 4711), EINVAL, "an unknown word");
    need(mlock(at, PAGE) == 0);
    is_errno(madvise(at, PAGE, MADV_COLD), EINVAL, "cold, and locked");
    is_errno(madvise(at, PAGE, MADV_PAGEOUT), EINVAL, "out, and locked");
    is_errno(madvise(at, PAGE, MADV_FREE), EINVAL, "free, and locked");
    is(madvise(at, PAGE, MADV_WILLNEED), 0, "needed, and locked");
    need(munmap(at, SIZE) == 0);
}

static long advise(int fd, void* at, size_t size, int advice, unsigned flags) {
    struct iovec piece[2] = {{at, size}, {(char*)at + size, PAGE}};
    return syscall(SYS_process_madvise, fd, piece, 2, advice, flags);
}

static void of_another(void) {
    char* at = memory(MAP_PRIVATE);
    int ends[2];
    const pid_t child = child_with(at, ends);
    const int fd = (int)syscall(SYS_pidfd_open, child, 0);
    need(fd >= 0);
    is(advise(fd, at, PAGE, MADV_COLD, 0), 2 * PAGE, "cold, in two pieces");
    is(advise(fd, at, PAGE, MADV_PAGEOUT, 0), 2 * PAGE, "out");
    is_errno(advise(fd, at, PAGE, MADV_DONTNEED, 0), EINVAL, "what would change what it reads");
    is_errno(advise(fd, at, PAGE, MADV_COLD, 1), EINVAL, "a flag");
    is_errno(advise(ends[1], at, PAGE, MADV_COLD, 0), EBADF, "not a process");
    is_errno(advise(fd, at + 1, PAGE, MADV_COLD, 0), EINVAL, "in the middle of a page");
    need(munmap(at + 2 * PAGE, PAGE) == 0);
    is(advise(fd, at + PAGE, PAGE, MADV_COLD, 0), 2 * PAGE, "the other's memory, not one's own");
    need(close(ends[1]) == 0);
    ok(exited_with(reap(child), 0), "the other has what it had");
    is_errno(advise(fd, at, PAGE, MADV_COLD, 0), ESRCH, "it has ended");
}

int main(int argc, char** argv) {
    swap = argc > 1 && strcmp(argv[1], "swap") == 0;
    subtest("private memory", private_memory);
    subtest("shared memory", shared_memory);
    subtest("memory that others have", others_have_it);
    subtest("shares of what is in swap", shares_of_swap);
    subtest("files", files);
    subtest("a file and what hides it", two_layers);
    subtest("memory that is of no use", no_longer_needed);
    subtest("errors", errors);
    subtest("another process", of_another);
    return done();
}

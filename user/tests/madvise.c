// madvise: what each advice does to memory, and what a child of fork gets; mincore, MAP_POPULATE,
// msync, /dev/zero.
#include "../lib/fault.h"
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <sys/mman.h>
#include <sys/resource.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#define MADV_KEEPONFORK 19
#endif

enum { PAGE = 4096, RW = PROT_READ | PROT_WRITE, ANON = MAP_PRIVATE | MAP_ANONYMOUS };

static char* map_flags(int pages, int prot, int flags) {
    char* at = mmap(NULL, (size_t)pages * PAGE, prot, flags, -1, 0);
    need(at != MAP_FAILED);
    return at;
}

static char* filled(int pages) {
    char* at = map_flags(pages, RW, ANON);
    memset(at, 'x', (size_t)pages * PAGE);
    return at;
}

// Which pages are resident, as a string of 1 and 0.
static const char* resident(const char* at, int pages) {
    static char text[65];
    unsigned char vec[64];
    need(mincore((void*)at, (size_t)pages * PAGE, vec) == 0);
    for (int i = 0; i < pages; i++)
        text[i] = vec[i] & 1 ? '1' : '0';
    text[pages] = 0;
    return text;
}

static long faults_now(void) {
    struct rusage u;
    need(getrusage(RUSAGE_SELF, &u) == 0);
    return u.ru_minflt;
}

static int file_of_letters(const char* name, int pages) {
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    need(fd >= 0);
    for (int i = 0; i < pages; i++) {
        char page[PAGE];
        memset(page, 'a' + i, PAGE);
        need(write(fd, page, PAGE) == PAGE);
    }
    return fd;
}

static void residency(void) {
    char* at = map_flags(8, RW, ANON);
    is_str(resident(at, 8), "00000000", "mincore: nothing is there at first");
    at[2 * PAGE] = at[5 * PAGE] = 1;
    is_str(resident(at, 8), "00100100", "what is touched is");
    is_str(resident(map_flags(8, RW, ANON | MAP_POPULATE), 8), "11111111", "MAP_POPULATE");
    is_str(resident(map_flags(8, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE), 8), "11111111",
           "of shared memory");
    unsigned char vec[8];
    is_errno(mincore(at + 1, PAGE, vec), EINVAL, "mincore within a page");
    is_errno(mincore(at, PAGE, (void*)16), EFAULT, "with a bad vector");
    need(munmap(at + 4 * PAGE, PAGE) == 0);
    is_errno(mincore(at, 8 * PAGE, vec), ENOMEM, "over a hole");
}

static void discarding(void) {
    char* at = filled(4);
    is(madvise(at + PAGE, 2 * PAGE, MADV_DONTNEED), 0, "MADV_DONTNEED");
    is_str(resident(at, 4), "1001", "gives pages back at once");
    ok(at[PAGE] == 0 && at[0] == 'x', "they are zeros");
    at = filled(4);
    is(madvise(at, 2 * PAGE, MADV_FREE), 0, "MADV_FREE");
    ok(at[0] == 0 || at[0] == 'x', "what was there may go, or stay for a time");
    at[0] = 'n';
    is(at[0], 'n', "what is stored since stays");
    is(at[2 * PAGE], 'x', "what was not named stays");
    char* shared = map_flags(2, RW, MAP_SHARED | MAP_ANONYMOUS);
    shared[0] = 's';
    is(madvise(shared, PAGE, MADV_DONTNEED), 0, "shared memory");
    is(shared[0], 's', "is not lost");
    is_errno(madvise(shared, PAGE, MADV_FREE), EINVAL, "and is nothing for MADV_FREE");
    int fd = file_of_letters("discard", 2);
    char* file = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE, fd, 0);
    need(file != MAP_FAILED);
    file[PAGE] = 'X';
    is(madvise(file, 2 * PAGE, MADV_DONTNEED), 0, "a private mapping of a file");
    is(file[PAGE], 'b', "is the file again");
    // The child's half of what a fork left to both.
    at = filled(2);
    pid_t child = fork();
    if (child == 0) {
        need(madvise(at, PAGE, MADV_DONTNEED) == 0);
        _exit(at[0] == 0 && at[PAGE] == 'x' ? 0 : 1);
    }
    is_exit(reap(child), 0, "a child gives up its part");
    is(at[0], 'x', "the parent keeps its own");
}

static void populating(void) {
    char* at = map_flags(4, RW, ANON);
    succeeds(madvise(at, 2 * PAGE, MADV_POPULATE_WRITE), "MADV_POPULATE_WRITE");
    is_str(resident(at, 4), "1100", "brings pages in");
    long before = faults_now();
    at[0] = at[PAGE] = 1;
    is(faults_now() - before, 0, "that can be written without a fault");
    succeeds(madvise(at, 4 * PAGE, MADV_POPULATE_READ), "MADV_POPULATE_READ");
    is(at[0], 1, "changes nothing");
    need(mprotect(at + 2 * PAGE, PAGE, PROT_READ) == 0);
    is_errno(madvise(at, 4 * PAGE, MADV_POPULATE_WRITE), EINVAL, "what cannot be written");
    need(munmap(at + 3 * PAGE, PAGE) == 0);
    is_errno(madvise(at, 4 * PAGE, MADV_POPULATE_READ), ENOMEM, "over a hole");
    int fd = file_of_letters("populate", 1);
    char* file = mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0);
    need(file != MAP_FAILED);
    is_errno(madvise(file, 2 * PAGE, MADV_POPULATE_READ), EFAULT, "past the end of a file");
}

static void mere_advice(void) {
    char* at = filled(8);
    static const int advice[] = {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED};
    for (int i = 0; i < 4; i++)
        is(madvise(at + i * PAGE, PAGE, advice[i]), 0, "advice %d", advice[i]);
    is(at[0] + at[7 * PAGE], 2 * 'x', "changes nothing");
    need(munmap(at + 2 * PAGE, PAGE) == 0);
    is_errno(madvise(at, 4 * PAGE, MADV_RANDOM), ENOMEM, "over a hole");
    is_errno(madvise(at + 1, PAGE, MADV_RANDOM), EINVAL, "within a page");
    is(madvise(at, 0, MADV_RANDOM), 0, "about nothing");
    is_errno(madvise(at, PAGE, 12345), EINVAL, "advice that is none");
    is_errno(madvise(at, -(size_t)PAGE, MADV_RANDOM), EINVAL, "a range that wraps");
}

static char* family; // four pages, of which the child says what it has

// In a child: bit i for each page of `family` that is as the parent's; 8 + for each that is there.
static int child_sees(void) {
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        int seen = 0;
        for (int i = 0; i < 4; i++) {
            struct fault f = load_fault(family + i * PAGE);
            if (f.signo == 0)
                seen |= 16 << i | (family[i * PAGE] == 'x') << i;
            else
                need(f.code == SEGV_MAPERR && f.addr == family + i * PAGE);
        }
        _exit(seen);
    }
    return WEXITSTATUS(reap(child));
}

static void for_children(void) {
    family = filled(4);
    is(child_sees(), 0xff, "a child has all");
    succeeds(madvise(family + PAGE, PAGE, MADV_DONTFORK), "MADV_DONTFORK");
    succeeds(madvise(family + 2 * PAGE, PAGE, MADV_WIPEONFORK), "MADV_WIPEONFORK");
    is(child_sees(), 0xd9, "one page is not there, one is zeros");
    is(family[PAGE] + family[2 * PAGE], 2 * 'x', "the parent has all");
    pid_t child = fork();
    if (child == 0)
        _exit(child_sees() == 0xd0 + 9 ? 0 : 1);
    is_exit(reap(child), 0, "so has a grandchild");
    succeeds(madvise(family + PAGE, PAGE, MADV_DOFORK), "MADV_DOFORK");
    succeeds(madvise(family + 2 * PAGE, PAGE, MADV_KEEPONFORK), "MADV_KEEPONFORK");
    is(child_sees(), 0xff, "take it back");
    char* shared = map_flags(1, RW, MAP_SHARED | MAP_ANONYMOUS);
    is_errno(madvise(shared, PAGE, MADV_WIPEONFORK), EINVAL, "shared memory is not wiped");
    succeeds(madvise(shared, PAGE, MADV_DONTFORK), "but may be left out");
    succeeds(madvise(shared, PAGE, MADV_DOFORK), "and in again");
    child = fork();
    if (child == 0)
        _exit((shared[0] = 7) - 7);
    is_exit(reap(child), 0, "by a child that stores in it");
    is(shared[0], 7, "which is still shared");
}

static void writing_back(void) {
    int fd = file_of_letters("msync", 2);
    char* at = mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0);
    need(at != MAP_FAILED);
    at[5] = 'S';
    is(msync(at, 2 * PAGE, MS_SYNC), 0, "msync");
    char byte = 0;
    ok(pread(fd, &byte, 1, 5) == 1 && byte == 'S', "the file has it");
    is(msync(at, PAGE, MS_ASYNC), 0, "MS_ASYNC");
    is(msync(at, PAGE, MS_INVALIDATE), 0, "MS_INVALIDATE");
    is_errno(msync(at, PAGE, MS_SYNC | MS_ASYNC), EINVAL, "both");
    is_errno(msync(at, PAGE, 8), EINVAL, "a flag that is none");
    is_errno(msync(at + 1, PAGE, MS_SYNC), EINVAL, "within a page");
    need(munmap(at + PAGE, PAGE) == 0);
    is_errno(msync(at, 2 * PAGE, MS_SYNC), ENOMEM, "over a hole");
}

static void device_of_zeros(void) {
    int fd = open("/dev/zero", O_RDWR);
    need(fd >= 0);
    char* mine = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE, fd, 0);
    char* ours = mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0);
    char* other = mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, PAGE);
    need(mine != MAP_FAILED && ours != MAP_FAILED && other != MAP_FAILED && close(fd) == 0);
    ok(mine[0] == 0 && ours[PAGE] == 0, "/dev/zero is zeros");
    mine[0] = ours[0] = 'z';
    is(other[0], 0, "each shared mapping of it is memory of its own");
    pid_t child = fork();
    if (child == 0) {
        need(mine[0] == 'z' && ours[0] == 'z');
        mine[0] = ours[PAGE] = 'c';
        _exit(0);
    }
    is_exit(reap(child), 0, "a child has both");
    is(mine[0], 'z', "the private one is copied");
    is(ours[PAGE], 'c', "the shared one is shared");
}

int main(void) {
    fault_catch(0);
    scratch_begin();
    subtest("what is resident", residency);
    subtest("giving pages back", discarding);
    subtest("bringing pages in", populating);
    subtest("mere advice", mere_advice);
    subtest("children", for_children);
    subtest("msync", writing_back);
    subtest("/dev/zero", device_of_zeros);
    return done();
}

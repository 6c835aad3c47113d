// mlock, mlock2, munlock, mlockall: what is resident afterwards, what is counted, the limit, fork.
// Root is not bound by the limit, so those who are to be are not root any more.
#include "../lib/clone.h"
#include "../lib/fault.h"
#include "../lib/proc.h"
#include "../lib/rights.h"
#include "../lib/spork.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif
#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif

enum { PAGE = 4096, RW = PROT_READ | PROT_WRITE, ANON = MAP_PRIVATE | MAP_ANONYMOUS };

// Whether the limit binds this process. What needs more than a user may lock is left out then.
static bool is_bound(void) { return !may(CAP_IPC_LOCK); }

static char* map_some(size_t pages, int flags) {
    char* at = mmap(NULL, pages * PAGE, RW, ANON | flags, -1, 0);
    need(at != MAP_FAILED);
    return at;
}

static int resident(char* at, size_t pages) {
    unsigned char vec[64];
    need(mincore(at, pages * PAGE, vec) == 0);
    int n = 0;
    for (size_t i = 0; i < pages; i++)
        n += vec[i] & 1;
    return n;
}

// A line of a file of /proc, in KiB.
static long kb_in(const char* path, const char* name) {
    char line[256];
    long kb = -1;
    FILE* f = fopen(path, "re");
    need(f != NULL);
    while (kb < 0 && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            kb = atol(line + strlen(name));
    fclose(f);
    return kb;
}

static long status_kb(const char* name) { return kb_in("/proc/self/status", name); }

static int lock_on_fault(void* at, size_t size) {
    return (int)syscall(SYS_mlock2, at, size, MLOCK_ONFAULT);
}

static void one_range(void) {
    char* at = map_some(8, 0);
    is(resident(at, 8), 0, "nothing is there at first");
    long before = status_kb("VmLck:");
    succeeds(mlock(at + PAGE + 5, 2 * PAGE), "mlock of parts of pages");
    is(resident(at, 8), 3, "brings whole pages in");
    is(status_kb("VmLck:") - before, 12, "and counts them");
    succeeds(mlock(at, 4 * PAGE), "over what is locked already");
    is(status_kb("VmLck:") - before, 16, "locks do not nest");
    is_errno(madvise(at, PAGE, MADV_DONTNEED), EINVAL, "locked pages are not given up");
    is_errno(msync(at, PAGE, MS_INVALIDATE), EBUSY, "nor invalidated");
    succeeds(munlock(at + PAGE, PAGE), "munlock of one");
    is(status_kb("VmLck:") - before, 12, "leaves the others");
    succeeds(munmap(at + 2 * PAGE, PAGE), "munmap");
    is(status_kb("VmLck:") - before, 8, "ends a lock");
    is_errno(mlock(at, -(size_t)PAGE), is_bound() ? ENOMEM : EINVAL, "a range that wraps");
    is(mlock(at, 0), 0, "nothing at all");
}

// What lies before the hole is locked, or set free, but not brought in.
static void over_a_hole(void) {
    char* at = map_some(12, 0);
    need(munmap(at + 4 * PAGE, PAGE) == 0);
    at[PAGE] = 1;
    is_errno(mlock(at, 8 * PAGE), ENOMEM, "mlock over a hole");
    is(status_kb("VmLck:"), 16, "locks what lies before it");
    is(resident(at, 4), 1, "brings nothing in");
    is(resident(at + 5 * PAGE, 7), 0, "nor behind it");
    is_errno(madvise(at, PAGE, MADV_DONTNEED), EINVAL, "what is locked is not given up");
    succeeds(madvise(at + 5 * PAGE, PAGE, MADV_DONTNEED), "what lies behind the hole can be");
    succeeds(mlock(at + 6 * PAGE, 2 * PAGE), "mlock behind the hole");
    is_errno(munlock(at + PAGE, 8 * PAGE), ENOMEM, "munlock over the hole");
    is(status_kb("VmLck:"), 12, "sets free what lies before it");
    is_errno(mlock(at + 4 * PAGE, 6 * PAGE), ENOMEM, "mlock of a range that begins in the hole");
    is(status_kb("VmLck:"), 12, "locks nothing");
    is_errno(lock_on_fault(at, 6 * PAGE), ENOMEM, "MLOCK_ONFAULT over the hole");
    is(status_kb("VmLck:"), 24, "locks what lies before it");
    need(munlock(at, 4 * PAGE) == 0 && munlock(at + 5 * PAGE, 7 * PAGE) == 0);

    need(mprotect(at + PAGE, PAGE, PROT_NONE) == 0);
    is_errno(mlock(at, 4 * PAGE), ENOMEM, "mlock over a page that cannot be accessed");
    is(status_kb("VmLck:"), 16, "locks them all");
    need(munmap(at, 12 * PAGE) == 0);
    is(status_kb("VmLck:"), 0, "nothing is left");
}

// Linux keeps these figures per CPU and adds them up now and then.
static bool rose(long now, long before, long by, const char* what) {
    const long slack = on_spork() ? 0 : labs(by) / 2;
    const bool right = labs(now - before - by) <= slack;
    if (!right)
        diag("%s: %ld kB before, %ld kB now", what, before, now);
    return right;
}

// A page that two processes have locked counts once for the machine, and for each of them.
static void whole_machine(void) {
    enum { PAGES = 4096, KB = PAGES * PAGE / 1024 };
    if (is_bound())
        return skip("needs the right to lock 16 MiB twice");
    static const char meminfo[] = "/proc/meminfo";
    const long locked = kb_in(meminfo, "Mlocked:"), kept = kb_in(meminfo, "Unevictable:");
    const long active = kb_in(meminfo, "Active(anon):");
    struct gate there = gate_make(), go = gate_make();
    char* at = mmap(NULL, PAGES * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(at != MAP_FAILED && mlock(at, PAGES * PAGE) == 0);
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        need(mlock(at, PAGES * PAGE) == 0 && status_kb("VmLck:") == KB);
        gate_open(&there);
        gate_pass(&go);
        _exit(0);
    }
    gate_pass(&there);
    is(status_kb("VmLck:"), KB, "each has locked the memory");
    ok(rose(kb_in(meminfo, "Mlocked:"), locked, KB, "Mlocked"), "Mlocked has it once");
    ok(rose(kb_in(meminfo, "Unevictable:"), kept, KB, "Unevictable"), "so has Unevictable");
    if (on_spork())
        ok(kb_in(meminfo, "Active(anon):") <= active + 256, "it is not active memory");
    gate_open(&go);
    is_exit(reap(child), 0, "the other ends");
    // Linux does not always count who has a page locked (not while the page is in a processor's
    // batch), takes the first to let go for the last one, and puts that right when it reclaims.
    if (on_spork())
        ok(rose(kb_in(meminfo, "Mlocked:"), locked, KB, "Mlocked"), "Mlocked still has it");
    need(munlock(at, PAGES * PAGE) == 0);
    ok(rose(kb_in(meminfo, "Mlocked:"), locked + KB, -KB, "Mlocked"), "until it is unlocked");
}

static void as_they_come(void) {
    char* at = map_some(8, 0);
    succeeds(lock_on_fault(at, 8 * PAGE), "mlock2 with MLOCK_ONFAULT");
    is(resident(at, 8), 0, "brings nothing in");
    at[2 * PAGE] = 1;
    is(resident(at, 8), 1, "but what is touched");
    is_errno(madvise(at, PAGE, MADV_DONTNEED), EINVAL, "it is locked all the same");
    succeeds(mlock(at, 8 * PAGE), "mlock after that");
    is(resident(at, 8), 8, "brings all in");
    is_errno(syscall(SYS_mlock2, at, PAGE, 2), EINVAL, "a flag that is none");
    succeeds(munlock(at, 8 * PAGE), "munlock");
    succeeds(syscall(SYS_mlock2, at, PAGE, 0), "mlock2 without flags");
}

static void everything(void) {
    char* old = map_some(4, 0);
    is_errno(mlockall(0), EINVAL, "no flags");
    is_errno(mlockall(MCL_ONFAULT), EINVAL, "MCL_ONFAULT alone");
    is_errno(mlockall(8), EINVAL, "a flag that is none");
    succeeds(mlockall(MCL_FUTURE), "MCL_FUTURE");
    is(resident(old, 4), 0, "leaves what is there alone");
    char* fresh = map_some(4, 0);
    is(resident(fresh, 4), 4, "what is mapped then is locked");
    char* heap = (char*)syscall(SYS_brk, 0);
    need((char*)syscall(SYS_brk, heap + 3 * PAGE) == heap + 3 * PAGE);
    heap = (char*)(((uintptr_t)heap + PAGE - 1) & -(uintptr_t)PAGE);
    is(resident(heap, 2), 2, "the heap as well");
    succeeds(mlockall(MCL_CURRENT), "MCL_CURRENT");
    is(resident(old, 4), 4, "locks what is there");
    char* later = map_some(4, 0);
    is(resident(later, 4), 0, "and says what is to be done from then on: nothing");
    succeeds(mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT), "MCL_ONFAULT");
    is(resident(later, 4), 0, "brings nothing in");
    fresh = map_some(4, 0);
    is(resident(fresh, 4), 0, "also later");
    is_errno(madvise(fresh, PAGE, MADV_DONTNEED), EINVAL, "but locks");
    succeeds(munlockall(), "munlockall");
    is(status_kb("VmLck:"), 0, "nothing is locked");
    succeeds(madvise(fresh, PAGE, MADV_DONTNEED), "pages can go again");
    is(resident(map_some(4, MAP_LOCKED), 4), 4, "MAP_LOCKED");
    is(status_kb("VmLck:"), 16, "counts");
}

static void in_a_child(void) {
    char* at = map_some(4, 0);
    memset(at, 'p', 4 * PAGE);
    need(mlock(at, 2 * PAGE) == 0 && mlockall(MCL_FUTURE) == 0);
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        need(status_kb("VmLck:") == 0);
        need(at[0] == 'p' && at[3 * PAGE] == 'p');
        at[0] = 'c';
        need(madvise(at, PAGE, MADV_DONTNEED) == 0 && at[0] == 0);
        need(resident(map_some(4, 0), 4) == 0);
        _exit(0);
    }
    // The first time, for the pages of the stack that they are on: those are not locked.
    struct rusage before, after;
    need(getrusage(RUSAGE_SELF, &after) == 0 && getrusage(RUSAGE_SELF, &before) == 0);
    need(getrusage(RUSAGE_SELF, &before) == 0);
    at[0] = at[PAGE] = 'q';
    need(getrusage(RUSAGE_SELF, &after) == 0);
    if (on_spork()) // Linux copies on write here, too
        is(after.ru_minflt - before.ru_minflt, 0, "the parent's locked pages do not fault");
    is_exit(reap(child), 0, "a child has copies, and no locks");
    is(at[PAGE], 'q', "the parent's are its own");
}

static void limited(void) {
    const struct rlimit four = {4 * PAGE, 4 * PAGE}, none = {0, 0};
    char* at = map_some(8, 0);
    need(setrlimit(RLIMIT_MEMLOCK, &four) == 0);
    if (!is_bound())
        succeeds(mlock(at, 8 * PAGE), "root is not bound by the limit");
    need(munlock(at, 8 * PAGE) == 0);
    drop_root();
    is_errno(mlock(at, 5 * PAGE), ENOMEM, "more than RLIMIT_MEMLOCK");
    is_errno(mlock(at, -(size_t)PAGE), ENOMEM, "the limit is asked before the range");
    is_errno(lock_on_fault(at, -(size_t)PAGE), ENOMEM, "for mlock2");
    is_errno(mlock((char*)-(size_t)PAGE, 2 * PAGE), EINVAL, "a range that wraps within the limit");
    is_errno(munlock(at, -(size_t)PAGE), EINVAL, "munlock knows no limit");
    succeeds(mlock(at, 3 * PAGE), "less");
    is_errno(mlock(at + 4 * PAGE, 2 * PAGE), ENOMEM, "it is the sum that counts");
    succeeds(mlock(at + 1 * PAGE, 3 * PAGE), "what is locked already counts once");
    is_errno(mmap(NULL, PAGE, RW, ANON | MAP_LOCKED, -1, 0), EAGAIN, "MAP_LOCKED");
    is_errno(mlockall(MCL_CURRENT), ENOMEM, "mlockall");
    is_errno(mremap(at, PAGE, 9 * PAGE, MREMAP_MAYMOVE), EAGAIN, "mremap of locked memory");
    need(munlock(at, 8 * PAGE) == 0);
    succeeds(mlockall(MCL_FUTURE), "MCL_FUTURE");
    is_errno(mmap(NULL, 5 * PAGE, RW, ANON, -1, 0), EAGAIN, "a mapping that would be over it");
    need(munlockall() == 0 && setrlimit(RLIMIT_MEMLOCK, &none) == 0);
    is_errno(mlock(at, PAGE), EPERM, "a limit of nothing");
    is_errno(mlockall(MCL_FUTURE), EPERM, "for mlockall");
    is_errno(syscall(SYS_mmap, NULL, PAGE, RW, ANON | MAP_LOCKED, -1, 0), EPERM, "for MAP_LOCKED");
    succeeds(munlock(at, PAGE), "munlock needs no right");
}

// ---- Killed while pages are brought in -------------------------------------------------------

// More than memory has tables for, by pages of zeros, which themselves take none.
static const size_t huge = (size_t)256 << 30;
static char* place;
static char stack[16384] __attribute__((aligned(16)));

// Without a change to this address space, which Linux would let wait for the child's call.
static long page_tables_kb(void) {
    static char text[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    need(fd >= 0);
    ssize_t n = read(fd, text, sizeof text - 1);
    need(n > 0 && close(fd) == 0);
    text[n] = 0;
    const char* line = strstr(text, "VmPTE:");
    need(line != NULL);
    return atol(line + strlen("VmPTE:"));
}

static int by_mlock(void* unused) {
    (void)unused;
    return mlock(place, huge);
}
static int by_madvise(void* unused) {
    (void)unused;
    return madvise(place, huge, 22 /* MADV_POPULATE_READ */);
}
static int by_mmap(void* unused) {
    (void)unused;
    return mmap(place, huge, PROT_READ, ANON | MAP_NORESERVE | MAP_FIXED | MAP_POPULATE, -1, 0) ==
           MAP_FAILED;
}

static void killed(void) {
    if (is_bound())
        return skip("needs the right to lock any memory");
    static const struct {
        const char* name;
        int (*call)(void*);
    } calls[] = {{"mlock", by_mlock}, {"madvise", by_madvise}, {"mmap", by_mmap}};
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); // Linux's short cut; not there on Spork
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        place = mmap(NULL, huge, PROT_READ, ANON | MAP_NORESERVE, -1, 0);
        need(place != MAP_FAILED);
        const long before = page_tables_kb();
        pid_t child = (pid_t)clone_call(CLONE_VM | SIGCHLD, stack + sizeof stack, calls[i].call, 0);
        need(child > 0);
        need(eventually(page_tables_kb() > before + 40));
        kill(child, SIGKILL);
        is_killed(reap(child), SIGKILL, "%s: SIGKILL ends it", calls[i].name);
        const long tables = page_tables_kb() - before, all = (long)(huge >> 19);
        ok(tables < all / 4, "%s: in the middle (%ld of %ld KiB of page tables)", calls[i].name,
           tables, all);
        need(munmap(place, huge) == 0);
    }
}

int main(void) {
    subtest("a range", one_range);
    subtest("over a hole", over_a_hole);
    subtest("as they come", as_they_come);
    subtest("everything", everything);
    subtest("fork", in_a_child);
    subtest("the whole machine", whole_machine);
    subtest("killed", killed);
    subtest("limits", limited);
    return done();
}

// What bounds an address space: RLIMIT_AS, RLIMIT_DATA, RLIMIT_STACK, the number of mappings, the
// guard gap below stacks that grow, the lowest addresses and the highest; where mappings come to
// lie; and that untouched memory costs nothing.
#include "../lib/fault.h"
#include "../lib/proc.h"
#include "../lib/rights.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#ifndef PROT_GROWSDOWN
#define PROT_GROWSDOWN 0x01000000
#endif
#ifndef MAP_32BIT
#define MAP_32BIT 0x40
#endif

enum { PAGE = 4096, RW = PROT_READ | PROT_WRITE, ANON = MAP_PRIVATE | MAP_ANONYMOUS };

static char* self;

static void limit(int resource, rlim_t bytes) {
    const struct rlimit both = {bytes, bytes};
    need(setrlimit(resource, &both) == 0);
}

// A line of /proc/self/status, in bytes.
static size_t status_bytes(const char* name) {
    char text[4096]; // stdio would take memory to read of memory
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);
    need(n > 0 && close(fd) == 0);
    text[n] = 0;
    const char* line = strstr(text, name);
    need(line != NULL);
    return (size_t)atol(line + strlen(name)) * 1024;
}

static void address_space(void) {
    limit(RLIMIT_AS, status_bytes("VmSize:") + 100 * PAGE);
    is_errno(mmap(NULL, 101 * PAGE, PROT_NONE, ANON, -1, 0), ENOMEM, "mmap beyond RLIMIT_AS");
    char* at = mmap(NULL, 60 * PAGE, RW, ANON, -1, 0);
    ok(at != MAP_FAILED, "within it");
    is_errno(mmap(NULL, 60 * PAGE, RW, ANON, -1, 0), ENOMEM, "it is the sum that counts");
    is(mmap(at, 60 * PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0), at, "what is replaced does not");
    char* heap = (char*)syscall(SYS_brk, 0);
    is(syscall(SYS_brk, heap + 60 * PAGE), heap, "brk beyond it");
    is(syscall(SYS_brk, heap + 10 * PAGE), heap + 10 * PAGE, "brk within it");
    need(munmap(at, 60 * PAGE) == 0);
    ok(mmap(NULL, 60 * PAGE, RW, ANON, -1, 0) != MAP_FAILED, "munmap makes room");
}

static void data(void) {
    char* none = mmap(NULL, 200 * PAGE, PROT_READ, ANON, -1, 0);
    need(none != MAP_FAILED);
    limit(RLIMIT_DATA, status_bytes("VmData:") + 100 * PAGE);
    is_errno(mmap(NULL, 101 * PAGE, RW, ANON, -1, 0), ENOMEM, "mmap beyond RLIMIT_DATA");
    ok(mmap(NULL, 101 * PAGE, PROT_READ, ANON, -1, 0) != MAP_FAILED,
       "what is read-only is no data");
    ok(mmap(NULL, 101 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED,
       "nor what is shared");
    is_errno(mprotect(none, 101 * PAGE, RW), ENOMEM, "until mprotect makes it so");
    succeeds(mprotect(none, 60 * PAGE, RW), "within the limit");
    is_errno(mmap(NULL, 60 * PAGE, RW, ANON, -1, 0), ENOMEM, "it is the sum that counts");
}

// As deep as `depth` bytes below where it was called.
__attribute__((noinline)) static void use_stack(void* depth) {
    size_t left = (size_t)depth;
    volatile char frame[2048];
    frame[0] = 1;
    if (left > sizeof frame)
        use_stack((void*)(left - sizeof frame));
    frame[1] = 2;
}

static void run_deep(void* depth) {
    signal(SIGSEGV, SIG_DFL);
    use_stack(depth);
}

static void stack(void) {
    is_exit(status_of(run_deep, (void*)(512ul << 10)), 0, "half a MiB of stack");
    limit(RLIMIT_STACK, 256 << 10);
    is_killed(status_of(run_deep, (void*)(512ul << 10)), SIGSEGV,
              "not after RLIMIT_STACK has become less");
    is_exit(status_of(run_deep, (void*)(100ul << 10)), 0, "what it allows");
}

static void growing(void) {
    // 4 MiB of addresses, at the top of which a stack begins.
    enum { ROOM = 1024 };
    char* low = mmap(NULL, (ROOM + 1) * PAGE, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
    need(low != MAP_FAILED && munmap(low, ROOM * PAGE) == 0);
    char* top =
        mmap(low + (ROOM - 4) * PAGE, 4 * PAGE, RW, ANON | MAP_FIXED | MAP_GROWSDOWN, -1, 0);
    need(top == low + (ROOM - 4) * PAGE);
    is_fault(store_fault(top - 1), 0, 0, NULL, "a store below it makes it grow");
    is_fault(store_fault(top - 10 * PAGE), 0, 0, NULL, "and one further down");
    is(top[-5 * PAGE], 0, "what is between is there");
    need(mmap(low, PAGE, RW, ANON | MAP_FIXED, -1, 0) == low);
    is_fault(store_fault(low + 2 * PAGE), SIGSEGV, SEGV_MAPERR, low + 2 * PAGE,
             "not close to what is mapped below");
    is_fault(store_fault(low + 260 * PAGE), 0, 0, NULL, "beyond a gap of 256 pages it may");
    // PROT_GROWSDOWN
    succeeds(mprotect(top, PAGE, PROT_READ | PROT_GROWSDOWN), "mprotect with PROT_GROWSDOWN");
    is_fault(store_fault(low + 260 * PAGE), SIGSEGV, SEGV_ACCERR, low + 260 * PAGE,
             "goes to the stack's beginning");
    is_fault(store_fault(top + PAGE), 0, 0, NULL, "and not further up");
    is_errno(mprotect(low, PAGE, PROT_READ | PROT_GROWSDOWN), EINVAL, "not of what does not grow");
    is_errno(mprotect(top, PAGE, PROT_READ | PROT_GROWSDOWN << 1), EINVAL, "PROT_GROWSUP");
}

// Mappings that nobody fixed stay clear of the gap.
static void gap_is_left(void) {
    enum { ROOM = 1024 };
    char* low = mmap(NULL, ROOM * PAGE, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
    need(low != MAP_FAILED && munmap(low, ROOM * PAGE) == 0);
    char* top = mmap(low + (ROOM - 1) * PAGE, PAGE, RW, ANON | MAP_FIXED | MAP_GROWSDOWN, -1, 0);
    need(top == low + (ROOM - 1) * PAGE);
    char* at = mmap(top - 2 * PAGE, PAGE, RW, ANON, -1, 0);
    ok(at != MAP_FAILED && (at >= top || top - at > 256 * PAGE),
       "a hint into the gap is not taken");
    is(mmap(top - 2 * PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0), top - 2 * PAGE, "MAP_FIXED is");
}

static size_t most_mappings(void) {
    char text[32] = "";
    int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
    need(fd >= 0 && read(fd, text, sizeof text - 1) > 0 && close(fd) == 0);
    return (size_t)atol(text);
}

// Each page that gets another protection is a mapping more, and what it was cut from is two.
static void number_of_mappings(void) {
    const size_t most = most_mappings();
    if (most > 70000) {
        skip("%zu mappings take too long", most);
        return;
    }
    char* at = mmap(NULL, (most + 50) * PAGE, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
    need(at != MAP_FAILED);
    size_t i = 1;
    while (i < most && mprotect(at + i * PAGE, PAGE, PROT_READ) == 0)
        i += 2;
    is(errno, ENOMEM, "vm.max_map_count ends it");
    ok(i > most - 200 && i < most, "after nearly so many");
    size_t holes = 0;
    while (holes < 4 && munmap(at + (i + 3 + 2 * holes) * PAGE, PAGE) == 0)
        holes++;
    ok(holes < 4, "nor is a hole cut into one then");
    is(errno, ENOMEM, "ENOMEM");
    succeeds(munmap(at, PAGE), "one may go as a whole");
    succeeds(munmap(at + PAGE, 3 * PAGE), "or several");
    succeeds(mprotect(at + 8 * PAGE, PAGE, PROT_READ), "and others take their place");
}

// With as many mappings as there may be, what needs no more is done.
static void moving_edges(void) {
    const size_t most = most_mappings();
    if (most > 70000) {
        skip("%zu mappings take too long", most);
        return;
    }
    char* at = mmap(NULL, (most + 50) * PAGE, PROT_READ, ANON | MAP_NORESERVE, -1, 0);
    need(at != MAP_FAILED);
    need(mprotect(at + 4 * PAGE, 4 * PAGE, RW) == 0 && mprotect(at + 12 * PAGE, 4 * PAGE, RW) == 0);
    char* other = mmap(NULL, 16 * PAGE, RW, ANON, -1, 0);
    need(other != MAP_FAILED && madvise(other + 8 * PAGE, 4 * PAGE, MADV_RANDOM) == 0);
    need(mlock(other + 12 * PAGE, 2 * PAGE) == 0);
    char* half = mmap(NULL, 16 * PAGE, PROT_READ, ANON, -1, 0);
    need(half != MAP_FAILED && mprotect(half + 8 * PAGE, 7 * PAGE, RW) == 0);
    half[8 * PAGE] = 1;
    for (size_t i = 20; mprotect(at + i * PAGE, PAGE, PROT_NONE) == 0; i += 2)
        continue;
    while (mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
        continue;
    is_errno(mprotect(at + 5 * PAGE, PAGE, PROT_READ), ENOMEM, "one of three is not made");
    succeeds(mprotect(at + 4 * PAGE, PAGE, PROT_READ), "an edge moves up");
    is_fault(store_fault(at + 4 * PAGE), SIGSEGV, SEGV_ACCERR, at + 4 * PAGE, "by a page");
    is_fault(store_fault(at + 5 * PAGE), 0, 0, NULL, "and no more");
    succeeds(mprotect(at + 11 * PAGE, PAGE, RW), "or down");
    succeeds(mprotect(at + 8 * PAGE, PAGE, RW), "also behind what has data");
    is(at[5 * PAGE], 1, "which is still there");
    is_errno(mprotect(at + 4 * PAGE, PAGE, PROT_NONE), ENOMEM, "a third kind is a mapping more");
    succeeds(mprotect(at + 6 * PAGE, 8 * PAGE, RW), "three become one");
    succeeds(mprotect(at + 4 * PAGE, PAGE, PROT_NONE), "which makes room for a third kind");
    succeeds(mprotect(half + 6 * PAGE, 2 * PAGE, RW), "an edge moves down from what has data");
    is(half[8 * PAGE], 1, "which stays");
    is_errno(madvise(other + 2 * PAGE, PAGE, MADV_RANDOM), EAGAIN, "advice in the middle");
    succeeds(madvise(other + 7 * PAGE, PAGE, MADV_RANDOM), "where it joins its kind");
    is_errno(madvise(other + 2 * PAGE, PAGE, MADV_DONTFORK), EAGAIN, "no child's, in the middle");
    succeeds(madvise(other + 7 * PAGE, 2 * PAGE, MADV_NORMAL), "and back");
    is_errno(mlock(other + 2 * PAGE, PAGE), ENOMEM, "locked in the middle");
    succeeds(mlock(other + 14 * PAGE, PAGE), "behind what is");
    succeeds(munlock(other + 13 * PAGE, 2 * PAGE), "and unlocked");
    other[2 * PAGE] = 1;
    succeeds(mprotect(other + 2 * PAGE, PAGE, RW), "what changes nothing may be anywhere");
    succeeds(madvise(other + 2 * PAGE, PAGE, MADV_NORMAL), "also advice");
    succeeds(madvise(other + 2 * PAGE, PAGE, MADV_DONTNEED), "pages may go anywhere");
    is(other[2 * PAGE], 0, "and are gone");
}

static void store_below(void* top) {
    signal(SIGSEGV, SIG_DFL);
    ((volatile char*)top)[-1] = 1;
}

static void lowest_addresses(void) {
    void* const lowest = (void*)0x10000; // vm.mmap_min_addr
    char* stack = mmap(lowest, PAGE, RW, ANON | MAP_FIXED | MAP_GROWSDOWN, -1, 0);
    is(stack, lowest, "the lowest address that anybody may use");
    is_killed(status_of(store_below, stack), SIGSEGV, "a stack that begins there does not grow");
    need(munmap(lowest, PAGE) == 0);
    is(mmap((void*)PAGE, PAGE, RW, ANON, -1, 0), lowest, "a hint below it means it");
    if (!may(CAP_SYS_RAWIO)) {
        skip("only root maps page 0");
        return;
    }
    char* at = mmap(NULL, PAGE, RW, ANON, -1, 0);
    char* zero = mmap(NULL, PAGE, RW, ANON | MAP_FIXED, -1, 0);
    is(zero, NULL, "root maps page 0");
    is_fault(store_fault(zero + 8), 0, 0, NULL, "and uses it");
    succeeds(munmap(zero, PAGE), "until it is unmapped");
    is(mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, NULL), NULL, "mremap goes there");
    need(munmap(zero, PAGE) == 0);
    drop_root();
    is_errno(mmap(NULL, PAGE, RW, ANON | MAP_FIXED, -1, 0), EPERM, "nobody else does");
    at = mmap(NULL, PAGE, RW, ANON, -1, 0);
    is_errno(mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, NULL), EPERM, "nor by mremap");
    is(at[0], 0, "which leaves all as it was");
}

// Arguments that no mapping can have: which error comes first.
static void out_of_range(void) {
    char* const top = (char*)(INTPTR_MAX & ~(intptr_t)(PAGE - 1));
    char* at = mmap(NULL, 2 * PAGE, RW, ANON, -1, 0);
    int fd = memfd_create("file", MFD_CLOEXEC);
    need(at != MAP_FAILED && fd >= 0 && ftruncate(fd, 2 * PAGE) == 0);
    is_errno(mmap(at, -(size_t)PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0), ENOMEM, "a huge length");
    is_errno(mmap(NULL, -(size_t)PAGE, RW, MAP_SHARED, fd, 0), ENOMEM, "anywhere");
    is_errno(mmap((void*)1, 1ul << 48, RW, ANON | MAP_FIXED, -1, 0), ENOMEM, "before alignment");
    is_errno(mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, -PAGE), EOVERFLOW, "an offset near the end");
    ok(mmap(NULL, 2 * PAGE, RW, ANON, -1, -PAGE) != MAP_FAILED, "which anonymous memory ignores");
    is_errno(mmap(NULL, 0, RW, MAP_SHARED, -1, 0), EBADF, "the descriptor before the length");
    is_errno(mmap(NULL, 0, RW, MAP_SHARED, fd, 0), EINVAL, "no length");
    is_errno(mmap(NULL, PAGE, RW, 3 /* MAP_SHARED_VALIDATE */ | MAP_ANONYMOUS, -1, 0), EINVAL,
             "MAP_SHARED_VALIDATE without a file");
    is_errno(mlock(top, 8), ENOMEM, "mlock where nothing can be");
    is_errno(munlock(top, 8), ENOMEM, "munlock");
    is_errno(mlock((void*)-(uintptr_t)PAGE, 2 * PAGE), EINVAL, "mlock around the end");
    is_errno(munlock(at, INTPTR_MAX), ENOMEM, "munlock of half of all");
    is_errno(mremap(top, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT, "mremap where nothing can be");
    is_errno(mremap(at, PAGE, 1ul << 62, MREMAP_MAYMOVE), EINVAL, "mremap to a huge length");
    is_errno(mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, top), EINVAL, "and to the top");
    close(fd);
}

static void low_addresses(void) {
    char* at = mmap(NULL, 16 * PAGE, RW, ANON | MAP_32BIT, -1, 0);
    need(at != MAP_FAILED);
    ok((uintptr_t)at + 16 * PAGE <= 1ul << 31, "MAP_32BIT gives addresses of 31 bits");
    at[0] = 1;
    char* second = mmap(NULL, 16 * PAGE, RW, ANON | MAP_32BIT, -1, 0);
    ok(second != at && (uintptr_t)second < 1ul << 31, "again");
    is_errno(mmap(NULL, 1ul << 31, PROT_NONE, ANON | MAP_32BIT | MAP_NORESERVE, -1, 0), ENOMEM,
             "there are not so many");
}

// What a terabyte costs: page tables and whatever the kernel keeps. Linux tells of the first alone.
static void untouched(void) {
    const size_t tera = 1ul << 40;
    const size_t tables = status_bytes("VmPTE:"), resident = status_bytes("VmRSS:");
    char* at = mmap(NULL, tera, RW, ANON | MAP_NORESERVE, -1, 0);
    need(at != MAP_FAILED);
    for (int i = 0; i < 8; i++)
        at[(size_t)i << 37] = 1;
    ok(status_bytes("VmPTE:") - tables + status_bytes("VmRSS:") - resident < 1 << 20,
       "1 TiB of MAP_NORESERVE with a page in each eighth costs less than 1 MiB");
    pid_t child = fork();
    if (child == 0) {
        need(at[3ul << 37] == 1);
        at[3ul << 37] = 2;
        _exit(0);
    }
    is_exit(reap(child), 0, "and can be forked");
    is(at[3ul << 37], 1, "as any memory");
    char* shared = mmap(NULL, tera, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    need(shared != MAP_FAILED);
    shared[tera - 1] = 's';
    FILE* f = fopen("/proc/self/smaps", "re");
    need(f != NULL);
    char line[256];
    while (fgets(line, sizeof line, f) != NULL)
        continue;
    fclose(f);
    is(munmap(at, tera) | munmap(shared, tera), 0, "a shared one, smaps, and the end");
}

// Where this program's stack, heap, mappings and code are: the digits that are random.
static void print_places(void) {
    char here;
    char text[128];
    int n = snprintf(text, sizeof text, "%p %p %p\n", (void*)&here, (void*)syscall(SYS_brk, 0),
                     mmap(NULL, PAGE, RW, ANON, -1, 0));
    need(write(1, text, (size_t)n) == n);
}

static void places_of_child(char* text, size_t size) {
    int pipes[2];
    need(pipe(pipes) == 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(pipes[1], 1);
        execl(self, self, "places", NULL);
        _exit(99);
    }
    close(pipes[1]);
    ssize_t n = read(pipes[0], text, size - 1);
    need(n > 0 && reap(child) == 0);
    text[n] = 0;
    close(pipes[0]);
}

static void random_places(void) {
    bool off = false;
    FILE* f = fopen("/proc/cmdline", "re");
    char line[4096] = "";
    if (f != NULL && fgets(line, sizeof line, f) != NULL)
        off = strstr(line, "norandmaps") != NULL;
    char first[128], second[128];
    places_of_child(first, sizeof first);
    places_of_child(second, sizeof second);
    void *a[3], *b[3];
    need(sscanf(first, "%p %p %p", &a[0], &a[1], &a[2]) == 3);
    need(sscanf(second, "%p %p %p", &b[0], &b[1], &b[2]) == 3);
    static const char* const names[] = {"stack", "heap", "mappings"};
    for (int i = 0; i < 3; i++)
        ok((a[i] == b[i]) == off, "the %s: %s", names[i],
           off ? "at the same place with norandmaps" : "at another place in each run");
}

int main(int argc, char** argv) {
    if (argc == 2) {
        print_places();
        return 0;
    }
    self = strdup(self_path(argv[0]));
    fault_catch(0);
    subtest("RLIMIT_AS", address_space);
    subtest("RLIMIT_DATA", data);
    subtest("RLIMIT_STACK", stack);
    subtest("stacks that grow", growing);
    subtest("the gap below a stack", gap_is_left);
    subtest("the number of mappings", number_of_mappings);
    subtest("edges that move", moving_edges);
    subtest("the lowest addresses", lowest_addresses);
    subtest("out of range", out_of_range);
    subtest("MAP_32BIT", low_addresses);
    subtest("memory that is not touched", untouched);
    subtest("random places", random_places);
    return done();
}

// spork-only
// The account of promised memory (vm.overcommit_memory 0, 1, 2): what each operation charges, what
// is refused, and that everything is given back. Linux has the same account, but other processes
// change it meanwhile, and the settings are the machine's.
#include "../lib/afork.h"
#include "../lib/proc.h"
#include "../lib/scratch.h"
#include "../lib/spork.h"

#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>

extern char** environ;

enum { PAGE = 4096, RW = PROT_READ | PROT_WRITE, ANON = MAP_PRIVATE | MAP_ANONYMOUS };

static char* self;

static void put(const char* file, const char* text) {
    char path[128];
    snprintf(path, sizeof path, "/proc/sys/vm/%s", file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    need(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0);
}

static long get(const char* file) {
    char path[128];
    snprintf(path, sizeof path, "/proc/sys/vm/%s", file);
    return atol(get_file(path));
}

// In pages, without stdio, which would take memory itself.
static long meminfo(const char* name) {
    const char* line = strstr(get_file("/proc/meminfo"), name);
    need(line != NULL);
    return atol(line + strlen(name)) / 4;
}

static long committed(void) { return meminfo("Committed_AS:"); }
static long room(void) { return meminfo("CommitLimit:") - committed(); }

static void back_to_default(void) {
    put("overcommit_memory", "0");
    put("overcommit_ratio", "50");
}

// Charges since `base` are as many pages.
#define is_charged(base, pages, ...) is(committed() - (base), pages, __VA_ARGS__)

static char* map(size_t pages, int prot, int flags) {
    char* at = mmap(NULL, pages * PAGE, prot, flags, -1, 0);
    need(at != MAP_FAILED);
    return at;
}

static void settings(void) {
    is(get("overcommit_memory"), 0, "mode 0 at first");
    is(get("overcommit_ratio"), 50, "half of memory");
    is(get("overcommit_kbytes"), 0, "not a number of KiB");
    const long total = meminfo("MemTotal:");
    const long swap = meminfo("SwapTotal:");
    ok(labs(meminfo("CommitLimit:") - total / 2 - swap) <= 1,
       "CommitLimit is half of memory, and swap");
    put("overcommit_ratio", "80");
    ok(labs(meminfo("CommitLimit:") - total * 8 / 10 - swap) <= 1, "or what the ratio says");
    put("overcommit_kbytes", "40000");
    is(meminfo("CommitLimit:") - swap, 10000, "overcommit_kbytes instead");
    is(get("overcommit_ratio"), 0, "takes the ratio's place");
    put("overcommit_ratio", "50");
    is(get("overcommit_kbytes"), 0, "and the other way round");
    static const char* const bad[] = {"3", "-1", "x", "1 2"};
    int fd = open("/proc/sys/vm/overcommit_memory", O_WRONLY | O_CLOEXEC);
    for (int i = 0; i < 4; i++)
        is_errno(write(fd, bad[i], strlen(bad[i])), EINVAL, "mode \"%s\"", bad[i]);
}

static void charges(void) {
    long base = committed();
    char* at = map(100, RW, ANON);
    is_charged(base, 100, "private writable memory is charged when it is mapped");
    char* ro = map(100, PROT_READ, ANON);
    is_charged(base, 100, "what is read-only is not");
    need(mprotect(ro + PAGE, 10 * PAGE, RW) == 0);
    is_charged(base, 110, "until mprotect makes it writable");
    need(mprotect(ro + PAGE, 10 * PAGE, PROT_READ) == 0);
    is_charged(base, 110, "it may have been written to: the charge stays");
    need(munmap(ro, 100 * PAGE) == 0);
    is_charged(base, 100, "munmap gives it back");
    need(munmap(at + 30 * PAGE, 20 * PAGE) == 0);
    is_charged(base, 80, "by parts");
    need(mmap(at, 30 * PAGE, RW, ANON | MAP_FIXED, -1, 0) == at);
    is_charged(base, 80, "what is replaced is given back");
    need((at = mremap(at, 30 * PAGE, 60 * PAGE, MREMAP_MAYMOVE)) != MAP_FAILED);
    is_charged(base, 110, "mremap charges the growth");
    need(mremap(at, 60 * PAGE, 10 * PAGE, 0) == at);
    is_charged(base, 60, "and gives back");
    base = committed();
    char* shared = map(50, RW, MAP_SHARED | MAP_ANONYMOUS);
    is_charged(base, 50, "shared anonymous memory is charged once");
    pid_t child = fork();
    if (child == 0)
        pause();
    long with_child = committed();
    need(kill(child, SIGKILL) == 0 && killed_by(reap(child), SIGKILL));
    is_charged(base, 50, "a child that is killed gives all back");
    need(munmap(shared, 50 * PAGE) == 0);
    child = fork();
    if (child == 0)
        pause();
    is(with_child - committed(), 50, "a child is not charged for it");
    need(kill(child, SIGKILL) == 0 && killed_by(reap(child), SIGKILL));
    is_charged(base, 0, "nothing is left");
    int fd = open("charge", O_RDWR | O_CREAT, 0600);
    need(fd >= 0 && ftruncate(fd, 20 * PAGE) == 0);
    char* file = mmap(NULL, 20 * PAGE, RW, MAP_SHARED, fd, 0);
    is_charged(base, 0, "a shared mapping of a file is not charged");
    file = mmap(NULL, 20 * PAGE, RW, MAP_PRIVATE, fd, 0);
    need(file != MAP_FAILED);
    is_charged(base, 20, "a private writable one is");
    need(munmap(file, 20 * PAGE) == 0);
    int id = shmget(IPC_PRIVATE, 30 * PAGE, 0600);
    need(id >= 0);
    is_charged(base, 30, "a System V segment is, when it is made");
    need(shmctl(id, IPC_RMID, NULL) == 0);
    is_charged(base, 0, "until it is removed");
    map(40, RW, ANON | MAP_NORESERVE);
    shared = map(40, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE);
    is_charged(base, 0, "MAP_NORESERVE asks for no promise");
    memset(shared, 1, 10 * PAGE);
    is_charged(base, 10, "but shared memory is charged for each page that is made");
    need(shared[20 * PAGE] == 0);
    is_charged(base, 11, "also by reading");
    need(munmap(shared, 40 * PAGE) == 0);
    is_charged(base, 0, "until it goes");
    id = shmget(IPC_PRIVATE, 30 * PAGE, 0600 | SHM_NORESERVE);
    shared = shmat(id, NULL, 0);
    need(id >= 0 && shared != (void*)-1 && shmctl(id, IPC_RMID, NULL) == 0);
    is_charged(base, 0, "a System V segment likewise");
    memset(shared, 1, 10 * PAGE);
    is_charged(base, 10, "it is charged for each page");
    need(shmdt(shared) == 0);
    is_charged(base, 0, "until it goes");
    char* heap = (char*)syscall(SYS_brk, 0);
    need((char*)syscall(SYS_brk, heap + 25 * PAGE) == heap + 25 * PAGE);
    is_charged(base, 25, "brk");
    need((char*)syscall(SYS_brk, heap) == heap);
    is_charged(base, 0, "and back");
}

// What this process is charged, which a fork charges again.
static long own_charge(void) {
    const char* line = strstr(get_file("/proc/self/status"), "VmCommit:");
    need(line != NULL);
    return atol(line + strlen("VmCommit:")) / 4;
}

static int nothing(void* arg) { return 0; }

static void forking(void) {
    map(200, RW, ANON);
    const long base = committed(), mine = own_charge();
    ok(mine >= 200, "the process has been promised %ld pages", mine);
    struct gate go = gate_make();
    pid_t child = fork();
    if (child == 0) {
        gate_pass(&go);
        _exit(0);
    }
    is_charged(base, mine, "fork promises the child as much");
    gate_open(&go);
    reap(child);
    is_charged(base, 0, "exit gives it back");
    volatile long during = -1;
    child = vfork();
    if (child == 0) {
        during = committed();
        _exit(0);
    }
    reap(child);
    is(during, base, "vfork promises nothing");
    static char stack[16384] __attribute__((aligned(16)));
    int fd = afork(stack, sizeof stack, nothing, NULL, AFORK_CLOEXEC, &child);
    need(fd >= 0);
    struct afork_record record;
    need(read(fd, &record, sizeof record) == sizeof record);
    reap(child);
    close(fd);
    is_charged(base, 0, "nor does afork, and nothing is left");
}

// Shared memory that was mapped without a promise, and now there is none left for its pages.
static void no_reserve_and_no_room(void) {
    volatile char* shared = map(10, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE);
    struct gate go = gate_make();
    pid_t child = fork();
    if (child == 0) {
        gate_pass(&go);
        shared[0] = 1;
        _exit(0);
    }
    put("overcommit_memory", "2");
    char* rest = map((size_t)room(), RW, ANON);
    gate_open(&go);
    is_killed(reap(child), SIGBUS, "a page for which there is no room is SIGBUS");
    need(munmap(rest, PAGE) == 0);
    const long base = committed();
    shared[0] = 1;
    is_charged(base, 1, "with room it is made");
    back_to_default();
}

static void* big;
static size_t big_pages;

// 60 per cent of what is left.
static void take_most(void) {
    put("overcommit_memory", "2");
    big_pages = (size_t)room() * 6 / 10;
    big = map(big_pages, RW, ANON);
}

static void strict(void) {
    take_most();
    const long base = committed();
    is_errno(fork(), ENOMEM, "mode 2: a parent with 60 %% of the limit cannot fork");
    is_charged(base, 0, "which leaves no charge");
    pid_t child = vfork();
    if (child == 0)
        execl(self, self, "exit", NULL);
    need(child > 0);
    is_exit(reap(child), 7, "vfork and exec work");
    is_charged(base, 0, "and leave no charge");
    char* argv[] = {self, "exit", NULL};
    is(posix_spawn(&child, self, NULL, NULL, argv, environ), 0, "so does posix_spawn");
    is_exit(reap(child), 7, "its child runs");
    is_charged(base, 0, "and leaves no charge");
    static char stack[16384] __attribute__((aligned(16)));
    int fd = afork(stack, sizeof stack, nothing, NULL, AFORK_CLOEXEC, &child);
    ok(fd >= 0, "so does afork");
    is_exit(reap(child), 0, "its child runs");
    close(fd);
    is_charged(base, 0, "and leaves no charge");
    const size_t more = (size_t)room() + 1;
    is_errno(mmap(NULL, more * PAGE, RW, ANON, -1, 0), ENOMEM, "mmap over the limit");
    is_errno(mmap(NULL, more * PAGE, RW, ANON | MAP_NORESERVE, -1, 0), ENOMEM,
             "also with MAP_NORESERVE");
    is_errno(mmap(NULL, more * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0), ENOMEM, "or shared");
    is_errno(mmap(NULL, more * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), ENOMEM,
             "or both");
    char* ro = map(more, PROT_READ, ANON);
    is_errno(mprotect(ro, more * PAGE, RW), ENOMEM, "mprotect over the limit");
    need(ro[0] == 0 && munmap(ro, more * PAGE) == 0);
    char* one = map(1, RW, ANON);
    is_errno(mremap(one, PAGE, (more + 1) * PAGE, MREMAP_MAYMOVE), ENOMEM, "mremap over it");
    need(munmap(one, PAGE) == 0);
    char* heap = (char*)syscall(SYS_brk, 0);
    is(syscall(SYS_brk, heap + more * PAGE), heap, "brk over it");
    is_errno(shmget(IPC_PRIVATE, more * PAGE, 0600), ENOMEM, "shmget over it");
    int fd2 = open("strict", O_RDWR | O_CREAT, 0600);
    need(fd2 >= 0 && ftruncate(fd2, (off_t)(more * PAGE)) == 0);
    is_errno(mmap(NULL, more * PAGE, RW, MAP_PRIVATE, fd2, 0), ENOMEM,
             "a private mapping of a file");
    need(ftruncate(fd2, 0) == 0);
    is_charged(base, 0, "nothing of that is charged");
    char* last = map((size_t)room(), RW, ANON);
    is(room(), 0, "the last page can be had");
    is_errno(mmap(NULL, PAGE, RW, ANON, -1, 0), ENOMEM, "and no more");
    need(munmap(last, PAGE) == 0);
    is(room(), 1, "what is given back can be had again");
}

__attribute__((noinline)) static void use_stack(size_t left) {
    volatile char frame[2048];
    frame[0] = 1;
    if (left > sizeof frame)
        use_stack(left - sizeof frame);
    frame[1] = 2;
}

// The stack's growth is a promise, too: where there is none left, it does not grow.
static void growing_stack(void) {
    const long base = committed();
    use_stack(400 << 10);
    ok(committed() - base >= 50, "a stack is charged as it grows");
    struct gate go = gate_make();
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        gate_pass(&go);
        use_stack(2 << 20);
        _exit(0);
    }
    put("overcommit_memory", "2");
    map((size_t)room() - 4, RW, ANON);
    gate_open(&go);
    is_killed(reap(child), SIGSEGV, "a stack that may not grow is SIGSEGV");
}

// A program for which there is no promise: exec says so, before its point of no return.
static void exec_over_the_limit(void) {
    put("overcommit_memory", "2");
    const long base = committed();
    char* rest = map((size_t)room() - 2, RW, ANON);
    pid_t child = vfork();
    if (child == 0) {
        execl(self, self, "exit", NULL);
        _exit(errno == ENOMEM ? 9 : 1);
    }
    need(child > 0);
    is_exit(reap(child), 9, "exec without room for the new stack says ENOMEM");
    need(munmap(rest, PAGE) == 0 && munmap(rest + PAGE, PAGE) == 0);
    back_to_default();
    ok(base > 0, "the parent is as it was");
}

static void heuristic_and_always(void) {
    const long total = meminfo("MemTotal:") + meminfo("SwapTotal:");
    is_errno(mmap(NULL, (size_t)(total + 1) * PAGE, RW, ANON, -1, 0), ENOMEM,
             "mode 0 refuses more than there is memory and swap");
    char* first = mmap(NULL, (size_t)total * PAGE / 10 * 9, RW, ANON, -1, 0);
    char* second = mmap(NULL, (size_t)total * PAGE / 10 * 9, RW, ANON, -1, 0);
    ok(first != MAP_FAILED && second != MAP_FAILED, "but adds nothing up");
    put("overcommit_memory", "1");
    char* third = mmap(NULL, (size_t)total * PAGE * 10, RW, ANON, -1, 0);
    ok(third != MAP_FAILED, "mode 1 refuses nothing");
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    need(child > 0);
    is_exit(reap(child), 0, "fork neither");
    back_to_default();
}

static long before_all;

static void run(void (*body)(void)) {
    atexit(back_to_default);
    body();
}
#define RUN(body)                                                                                  \
    static void run_##body(void) { run(body); }
RUN(settings)
RUN(charges)
RUN(forking)
RUN(no_reserve_and_no_room)
RUN(strict)
RUN(growing_stack)
RUN(exec_over_the_limit)
RUN(heuristic_and_always)

int main(int argc, char** argv) {
    if (argc == 2)
        return 7;
    self = strdup(self_path(argv[0]));
    scratch_begin();
    before_all = committed();
    subtest("settings", run_settings);
    subtest("what is charged", run_charges);
    subtest("fork, vfork, afork", run_forking);
    subtest("MAP_NORESERVE, shared, without room", run_no_reserve_and_no_room);
    subtest("mode 2", run_strict);
    subtest("a stack that grows", run_growing_stack);
    subtest("exec", run_exec_over_the_limit);
    subtest("modes 0 and 1", run_heuristic_and_always);
    back_to_default();
    is(committed(), before_all, "Committed_AS is what it was at first");
    return done();
}

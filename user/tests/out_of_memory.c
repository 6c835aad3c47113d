// spork-only
// out_of_memory: for fork, vfork, clone, exec, the calls that map, and page faults, the first,
// second, ... allocation inside the kernel fails in turn until the call goes through
// (/proc/sys/vm/fail_allocation). Each time: an errno that says so, or for a page fault and behind
// exec's point of no return the end of the process by a signal; the same mappings as before, the
// same promise; and at the end nothing that was not there at the beginning.
#include "../lib/counts.h"
#include "../lib/proc.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { PAGE = 4096, PAGES = 12, MOST_FAILURES = 400, MAPS_SIZE = 32768 };
enum { NEW_IMAGE = 42, NEW_IMAGE_WITHOUT_FAILURE = 43, REFUSED = 44 };

extern char** environ;

// What a child finds, in memory that its parent has too.
struct finding {
    int returned_errno; // 0: the call succeeded
    bool returned;      // it came back at all
    bool failed;        // an allocation had been refused by then
    bool maps_same, promise_same, contents_same, counter_right;
};
static struct finding* finding;

static char* self;
static int fail_fd, file_fd;
static char maps_before[MAPS_SIZE], maps_after[MAPS_SIZE], meminfo[4096];

// ---- Arming ----------------------------------------------------------------------------------

// The n-th allocation of this thread from now on is refused; 0: none.
static void arm(long n) {
    char text[24];
    int length = snprintf(text, sizeof text, "%ld", n);
    need(pwrite(fail_fd, text, (size_t)length, 0) == length);
}

// Whether the allocation that was armed has been refused. Reading allocates: if it is the one that
// is refused, none was before.
static bool has_failed(void) {
    char text[24] = "";
    if (pread(fail_fd, text, sizeof text - 1, 0) < 0)
        return false;
    return atol(text) == 0;
}

// ---- Looking, without stdio: nothing may be allocated by the way ------------------------------

static void read_whole(const char* path, char* buffer, size_t size) {
    size_t used = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    need(fd >= 0);
    for (ssize_t n; (n = read(fd, buffer + used, size - 1 - used)) > 0;)
        used += (size_t)n;
    buffer[used] = '\0';
    close(fd);
}

// In KiB, without what the pages that faults have made in the file count: it keeps them.
static long promised(void) {
    read_whole("/proc/meminfo", meminfo, sizeof meminfo);
    const char* at = strstr(meminfo, "Committed_AS:");
    need(at != NULL);
    struct stat file;
    need(fstat(file_fd, &file) == 0);
    return atol(at + strlen("Committed_AS:")) - file.st_blocks / 2;
}

static long counter(const char* name) {
    char line[64];
    read_whole("/proc/uvmexp", meminfo, sizeof meminfo);
    snprintf(line, sizeof line, "\n%s ", name);
    const char* at = strstr(meminfo, line);
    need(at != NULL);
    return atol(at + strlen(line));
}

// ---- The scene that each call meets ----------------------------------------------------------

static char *anonymous, *of_file, *shared, *room;
static char clone_stack[16384];

static void set_scene(void) {
    anonymous =
        mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    of_file = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file_fd, 0);
    shared = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file_fd, 0);
    room = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(anonymous != MAP_FAILED && of_file != MAP_FAILED && shared != MAP_FAILED &&
         room != MAP_FAILED);
    for (int i = 0; i < PAGES; i += 2)
        anonymous[i * PAGE] = (char)(i + 1);
    of_file[PAGE] = 77;
}

// The pages that the calls use besides.
static void touch_own_pages(void) { memset(clone_stack, 1, sizeof clone_stack); }

static bool scene_is_set(void) {
    for (int i = 0; i < PAGES; i++)
        if (anonymous[i * PAGE] != (i % 2 == 0 ? i + 1 : 0))
            return false;
    return of_file[PAGE] == 77 && of_file[0] == 'f' && shared[0] == 'f';
}

// ---- The calls. Each returns 0 or an errno, and undoes what it did. --------------------------

static int error_of(long result) { return result < 0 ? errno : 0; }

static int do_nothing(void) { return 0; }

// Behind a fork the program's own writes are faults that copy: they fail in their turn, and end it.

static int call_fork(void) {
    long pid = syscall(SYS_fork);
    if (pid == 0)
        syscall(SYS_exit_group, 0);
    return pid > 0 ? (reap((pid_t)pid), 0) : error_of(pid);
}

static int call_vfork(void) {
    pid_t pid = vfork();
    if (pid == 0)
        _exit(0);
    return pid > 0 ? (reap(pid), 0) : error_of(pid);
}

static int leave_at_once(void* unused) {
    (void)unused;
    syscall(SYS_exit, 0);
    return 0;
}

static int call_clone_vm(void) {
    char* stack = clone_stack;
    int pid =
        clone(leave_at_once, stack + sizeof clone_stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    return pid > 0 ? (reap(pid), 0) : error_of(pid);
}

static int call_exec(void) {
    char* argv[] = {self, "new image", NULL};
    return error_of(execve(self, argv, environ));
}

static int map(void* where, int flags, int fd) {
    char* p = mmap(where, 4 * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);
    return p == MAP_FAILED ? errno : 0;
}
static int call_mmap(void) { return map(NULL, MAP_PRIVATE | MAP_ANONYMOUS, -1); }
static int call_mmap_file(void) { return map(NULL, MAP_PRIVATE, file_fd); }
static int call_mmap_shared(void) { return map(NULL, MAP_SHARED | MAP_ANONYMOUS, -1); }
static int call_mmap_over(void) {
    return map(room + 4 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1);
}
static int call_munmap(void) { return error_of(munmap(anonymous + 3 * PAGE, 4 * PAGE)); }
static int call_mprotect(void) {
    return error_of(mprotect(anonymous + 3 * PAGE, 4 * PAGE, PROT_READ));
}
static int call_mremap(void) {
    char* p = mremap(anonymous, PAGES * PAGE, 2 * PAGES * PAGE, MREMAP_MAYMOVE);
    if (p == MAP_FAILED)
        return errno;
    anonymous = p;
    return 0;
}
static int call_madvise(void) {
    return error_of(madvise(anonymous + 2 * PAGE, 3 * PAGE, MADV_DONTNEED));
}
static int call_mlock(void) { return error_of(mlock(anonymous + 2 * PAGE, 5 * PAGE)); }
static int call_brk(void) {
    char* now = (char*)syscall(SYS_brk, 0);
    return (char*)syscall(SYS_brk, now + 8 * PAGE) == now ? ENOMEM : 0;
}

// A signal without a sigqueue, its handler, and the return from it: nothing of that may need
// memory.
static volatile int handled;
static void on_signal(int signo) { handled = signo; }
static int call_signal(void) {
    handled = 0;
    const long sent = syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
    return sent == 0 && handled != SIGUSR1 ? ENOTRECOVERABLE : error_of(sent);
}

// Page faults: the process ends if they fail.
static volatile char* touched(char* p) { return p; }
static int fault_zero_fill(void) { return *touched(anonymous + PAGE) = 0, 0; }
static int fault_zero_read(void) { return *touched(anonymous + 3 * PAGE); }
static int fault_cow(void) { return *touched(anonymous + 2 * PAGE) = 3, 0; }
static int fault_file_copy(void) { return *touched(of_file + 3 * PAGE) = 0, 0; }
static int fault_file_hole(void) { return *touched(shared + 9 * PAGE); }
static int fault_stack(void) {
    volatile char* here = (char*)__builtin_frame_address(0);
    return *(here - 20 * PAGE) = 0, 0;
}
// In the kernel's own access to the program's memory: EFAULT or the end, as Linux has it.
static int fault_in_read(void) { return error_of(pread(file_fd, anonymous + 5 * PAGE, 100, 0)); }

static const struct call {
    const char* name;
    int (*make)(void);
    bool fault, keeps_scene; // `keeps_scene`: contents are the same also when it succeeds
    int least;               // allocations that it makes at least
    int other_errno;         // besides ENOMEM
    const char* counted;     // a counter that must not move when the call fails
} calls[] = {
    {"fork", call_fork, false, true, 8, EAGAIN, "forks"},
    {"vfork", call_vfork, false, true, 3, EAGAIN, "forks_sharevm"},
    {"clone with CLONE_VM", call_clone_vm, false, true, 3, EAGAIN, "forks_sharevm"},
    {"execve", call_exec, false, true, 10, EFAULT, NULL},
    {"mmap, anonymous", call_mmap, false, true, 1, 0, NULL},
    {"mmap of a file", call_mmap_file, false, true, 1, 0, NULL},
    {"mmap, shared anonymous", call_mmap_shared, false, true, 2, 0, NULL},
    {"mmap over the middle of another", call_mmap_over, false, true, 2, 0, NULL},
    {"munmap of the middle", call_munmap, false, false, 2, 0, NULL},
    {"mprotect of the middle", call_mprotect, false, true, 2, 0, NULL},
    {"mremap", call_mremap, false, true, 2, 0, NULL},
    {"madvise", call_madvise, false, false, 2, EAGAIN, NULL},
    {"mlock", call_mlock, false, true, 4, EAGAIN, NULL},
    {"brk", call_brk, false, true, 1, 0, NULL},
    {"a signal, its handler and the return", call_signal, false, true, 0, EAGAIN, NULL},
    {"page fault: zero-filled", fault_zero_fill, true, true, 2, 0, NULL},
    {"page fault: the page of zeros", fault_zero_read, true, true, 0, 0, NULL},
    {"page fault: copy on write", fault_cow, true, true, 2, 0, NULL},
    {"page fault: private copy of a file's page", fault_file_copy, true, true, 2, 0, NULL},
    {"page fault: a hole of a file", fault_file_hole, true, true, 1, 0, NULL},
    {"page fault: the stack grows", fault_stack, true, true, 2, 0, NULL},
    {"page fault inside read", fault_in_read, true, false, 2, EFAULT, NULL},
};

// ---- One call with one failure ---------------------------------------------------------------

struct attempt {
    const struct call* call;
    long n;
};

static void look_before_and_after(const struct call* c, long n) {
    const long promise = promised(), noram = counter("flt_noram");
    const long counted = c->counted ? counter(c->counted) : 0;
    read_whole("/proc/self/maps", maps_before, sizeof maps_before);
    finding->counter_right = true;
    arm(n);
    int error = c->make();
    bool failed = has_failed();
    arm(0);
    finding->returned_errno = error;
    finding->failed = failed;
    read_whole("/proc/self/maps", maps_after, sizeof maps_after);
    finding->maps_same = strcmp(maps_before, maps_after) == 0;
    finding->promise_same = promised() == promise;
    finding->contents_same = (error == 0 && !c->keeps_scene) || scene_is_set();
    if (error != 0 && c->counted)
        finding->counter_right = counter(c->counted) == counted;
    if (c->make == fault_in_read && error != 0)
        finding->counter_right = counter("flt_noram") == noram + 1;
    finding->returned = true;
}

static void attempt(void* arg) {
    const struct attempt* a = arg;
    static const struct call nothing = {"nothing", do_nothing, false, true, 0, 0, NULL};
    // The pages that this function touches by itself are brought in first.
    touch_own_pages();
    look_before_and_after(&nothing, MOST_FAILURES * 10);
    memset(finding, 0, sizeof *finding);
    look_before_and_after(a->call, a->n);
}

// ---- All failures of one call ----------------------------------------------------------------

static void fail_in_turn(const void* call) {
    const struct call* c = call;
    long failures = 0, killed = 0, wrong = 0;
    for (long n = 1;; n++) {
        memset(finding, 0, sizeof *finding);
        struct attempt a = {c, n};
        int status = status_of(attempt, &a);
        // One that is killed behind its fork leaves a child, which holds memory until it ends.
        while (waitpid(-1, NULL, 0) > 0)
            continue;
        bool came_back = exited_with(status, 0) && finding->returned;
        if (c->make == call_exec && exited_with(status, NEW_IMAGE_WITHOUT_FAILURE))
            break;
        if (came_back && !finding->failed && finding->returned_errno == 0)
            break;
        failures++;
        if (n == MOST_FAILURES) {
            diag("no end of it");
            wrong++;
            break;
        }
        if (!scene_is_set()) { // the parent's, which the child had a copy of
            diag("failure %ld: the parent's memory has changed", n);
            wrong++;
        }
        if (!came_back) {
            killed++;
            bool may_be_killed = c->fault || c->make == call_exec || c->make == call_fork;
            bool right =
                killed_by(status, SIGKILL) ||
                (killed_by(status, SIGSEGV) && (c->make == call_exec || c->make == fault_stack)) ||
                (c->make == call_exec && exited_with(status, NEW_IMAGE));
            if (!may_be_killed || !right) {
                diag("failure %ld: wait status 0x%x", n, status);
                wrong++;
            }
            continue;
        }
        if (finding->returned_errno == 0) { // it went through all the same
            if (!finding->failed)
                wrong++;
            continue;
        }
        if (finding->returned_errno != ENOMEM && finding->returned_errno != c->other_errno) {
            diag("failure %ld: errno %d", n, finding->returned_errno);
            wrong++;
        }
        if (!finding->maps_same || !finding->promise_same || !finding->contents_same ||
            !finding->counter_right) {
            diag("failure %ld: maps %d, promise %d, contents %d, counter %d", n, finding->maps_same,
                 finding->promise_same, finding->contents_same, finding->counter_right);
            wrong++;
        }
    }
    is(wrong, 0, "%s: each failure is answered and leaves no trace", c->name);
    ok(failures >= c->least, "%s: %ld failures, %ld of them the end of the process", c->name,
       failures, killed);
}

static const struct call exec_of_vfork_child = {
    "execve by a vfork child", call_exec, false, true, 10, EFAULT, NULL};

// A vfork child in which the n-th allocation of exec fails. It exits with REFUSED if that returns.
static pid_t exec_in_vfork_child(const struct call* c, long n) {
    pid_t child = vfork();
    if (child == 0) {
        if (n % 2 == 0) {
            sigset_t segv;
            sigemptyset(&segv);
            sigaddset(&segv, SIGSEGV);
            sigprocmask(SIG_BLOCK, &segv, NULL);
            signal(SIGSEGV, SIG_IGN);
        }
        arm(n);
        const int error = c->make();
        _exit(error == ENOMEM || error == c->other_errno ? REFUSED : error);
    }
    return child;
}

// Whether the child's exec gets an errno or kills behind its point of no return, where SIGSEGV can
// be neither blocked nor ignored: the parent goes on, in memory that is as it was.
static void exec_in_turn_in_vfork_child(void) {
    const char* name = exec_of_vfork_child.name;
    long failures = 0, killed = 0, wrong = 0;
    for (long n = 1; n < MOST_FAILURES; n++) {
        const long promise = promised();
        read_whole("/proc/self/maps", maps_before, sizeof maps_before);
        pid_t child = exec_in_vfork_child(&exec_of_vfork_child, n);
        need(child > 0);
        const int status = reap(child);
        read_whole("/proc/self/maps", maps_after, sizeof maps_after);
        if (strcmp(maps_before, maps_after) != 0 || promised() != promise || !scene_is_set()) {
            diag("failure %ld: the parent is not as it was", n);
            wrong++;
        }
        if (exited_with(status, NEW_IMAGE_WITHOUT_FAILURE))
            break;
        failures++;
        if (killed_by(status, SIGSEGV) || killed_by(status, SIGKILL)) {
            killed++;
        } else if (!exited_with(status, REFUSED) && !exited_with(status, NEW_IMAGE)) {
            diag("failure %ld: wait status 0x%x", n, status);
            wrong++;
        }
    }
    is(wrong, 0, "%s: each failure wakes the parent and leaves no trace", name);
    ok(killed > 0 && failures > killed && failures < MOST_FAILURES - 1,
       "%s: %ld failures, %ld of them the end of the process", name, failures, killed);
}

static void fail_in_turn_in_vfork_child(const void* call) {
    const struct call* c = call;
    subtest(c->name, exec_in_turn_in_vfork_child); // in a process of its own, for what it touches
}

// Nothing may be left of any of them, but what the file has been given.
struct all_failures {
    const struct call* call;
    void (*fail)(const void* call);
};

static void fail_and_empty_file(const void* arg) {
    const struct all_failures* a = arg;
    a->fail(a->call);
    need(ftruncate(file_fd, 2 * PAGE) == 0 && ftruncate(file_fd, PAGES * PAGE) == 0);
}

static void check(const struct call* c, void (*fail)(const void*)) {
    const struct all_failures a = {c, fail};
    is(counts_left_by(fail_and_empty_file, &a), 0, "%s: nothing is left", c->name);
}

int main(int argc, char** argv) {
    fail_fd = open("/proc/sys/vm/fail_allocation", O_RDWR | O_CLOEXEC);
    if (argc > 1) // exec's new image, in the thread that was armed; opening may be what fails
        return fail_fd >= 0 && has_failed() ? NEW_IMAGE : NEW_IMAGE_WITHOUT_FAILURE;
    need(fail_fd >= 0);
    self = strdup(self_path(argv[0]));
    finding = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    file_fd = open("/tmp/out_of_memory.file", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    need(finding != MAP_FAILED && file_fd >= 0);
    need(write(file_fd, "f", 1) == 1 && ftruncate(file_fd, PAGES * PAGE) == 0);
    need(unlink("/tmp/out_of_memory.file") == 0);
    need(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
    set_scene();
    need(signal(SIGUSR1, on_signal) != SIG_ERR);

    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        check(&calls[i], fail_in_turn);
    check(&exec_of_vfork_child, fail_in_turn_in_vfork_child);
    return done();
}

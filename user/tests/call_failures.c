// spork-only
// call_failures [KIND [CALL]]: every call of pairs_calls.h, on each kind of object that it acts on,
// with the first, second, ... allocation inside the kernel failing in turn until the call goes
// through without (/proc/sys/vm/fail_allocation). Each time: the result that it has otherwise, or
// an errno that says that memory was short, and then the object is as it was before; nobody is
// killed; and nothing is left behind. (fork, exec, what maps, and page faults: out_of_memory.c.)
#include "pairs_arguments.h"

#include "../lib/counts.h"

#include <pthread.h>
#include <sched.h>

// Enough for a run in which each call fails as often as it can.
enum { MOST_FAILURES = 100, LEAST_IN_ALL = 1500 };

// Calls that make an object: K_SELF, since they act on none.
static const struct call makers[] = {
    C(K_SELF, DONE, pipe, BUF),
    C(K_SELF, DONE, pipe2, BUF, O_DIRECT),
    C(K_SELF, DESCRIPTOR, memfd_create, DATA, 2),
    C(K_SELF, DESCRIPTOR, eventfd2, 1, 0),
    C(K_SELF, DESCRIPTOR, epoll_create1, 0),
    C(K_SELF, DESCRIPTOR, socket, AF_INET, SOCK_STREAM, 0),
    C(K_SELF, DONE, socketpair, AF_UNIX, SOCK_STREAM, 0, BUF),
    C(K_SELF, DESCRIPTOR, timerfd_create, CLOCK_MONOTONIC, 0),
    C(K_SELF, DESCRIPTOR, signalfd4, -1, MASK, 8, 0),
    C(K_SELF, DESCRIPTOR, open, PTMX, O_RDWR | O_NOCTTY),
    C(K_SELF, DESCRIPTOR, open, NOTHING, O_TMPFILE | O_RDWR, RW),
    C(K_SELF, DONE, getrandom, BUF, PAGE, 0),
    C(K_SELF, DONE, uname, BUF),
    C(K_SELF, DONE, sysinfo, BUF),
    C(K_SELF, DONE, syslog, 3, BUF, PAGE),
    C(K_SELF, DONE, sethostname, DATA, 1),
    C(K_SELF, DONE, clock_nanosleep, CLOCK_MONOTONIC, 0, NO_TIME, 0),
    C(K_SELF, DONE, sched_yield),
};
enum { MAKERS = sizeof makers / sizeof makers[0] };

// What else than ENOMEM the calls return for want of memory, as Linux has it.
static const struct {
    short number;
    int error;
} other_errors[] = {
    {SYS_fcntl, ENOLCK},
    {SYS_flock, ENOLCK},
    {SYS_timer_create, EAGAIN},
    {SYS_setuid, EAGAIN},
    {SYS_setreuid, EAGAIN},
    {SYS_setresuid, EAGAIN},
    {SYS_mlock, EAGAIN},
    {SYS_mlock2, EAGAIN},
    {SYS_mlockall, EAGAIN},
    {SYS_mincore, EAGAIN},
    {SYS_madvise, EAGAIN},
    {SYS_rt_sigqueueinfo, EAGAIN},
    {SYS_rt_tgsigqueueinfo, EAGAIN},
};

static struct caller caller;

// Which attempt is under way and how it ended, told to the first process by the others.
static struct report {
    unsigned kind;
    const struct call* call;
    long n, failures, calls, wrong;
    bool came_back, failed;
    long result;
}* report;

// The n-th allocation of this thread from now on is refused; 0: none.
static void arm(long n) {
    char text[24];
    const int length = snprintf(text, sizeof text, "%ld", n);
    need(pwrite(POINTS_FD, text, (size_t)length, 0) == length);
}

// Whether the allocation that was armed has been refused. Reading allocates: if it is the one that
// is refused, none was before.
static bool has_failed(void) {
    char text[24] = "";
    return pread(POINTS_FD, text, sizeof text - 1, 0) > 0 && atol(text) == 0;
}

static void complain(const char* what, const char* got, const char* want) {
    report->wrong++;
    diag("%s, %s: failure %ld: %s", kinds[report->kind].name, report->call->name, report->n, what);
    if (got != NULL)
        diag("  is %s", got), diag("  not%s", want);
}

// What these do to memory and processes out_of_memory.c looks at; a fork ends the caller, too, when
// a page that it shares with its child since is not to be had.
static bool is_elsewhere(unsigned bit, const struct call* c) {
    return c->result == CHILD_MADE || c->number == SYS_execve || c->number == SYS_execveat ||
           (bit == K_SELF && (c->number == SYS_mlockall || c->number == SYS_mmap));
}

static bool says_so(const struct call* c, long error) {
    for (size_t i = 0; i < sizeof other_errors / sizeof other_errors[0]; i++)
        if (other_errors[i].number == c->number && other_errors[i].error == error)
            return true;
    return error == ENOMEM;
}

// ---- One attempt -------------------------------------------------------------------------------

// The call, with the n-th allocation refused; 0: none. What the caller itself touches was touched
// before, since a fork may have made it copy-on-write.
static void attempt(const struct object* o, const struct call* c, long n) {
    report->n = n;
    report->came_back = false;
    prepare(&caller, o, c);
    arm(MOST_FAILURES * 10);
    (void)has_failed();
    arm(n);
    const long result = raw_call(caller.number, caller.a);
    const bool failed = n != 0 && has_failed();
    report->result = result;
    report->failed = failed;
    report->came_back = true;
}

// Waits that nobody ends.
static void on_alarm(int signo) { (void)signo; }
static void limit_waits(bool on) {
    const struct itimerval often = {{0, 5000}, {0, 5000}}, never = {{0, 0}, {0, 0}};
    need(setitimer(ITIMER_REAL, on ? &often : &never, NULL) == 0);
}

static void fail_in_turn(unsigned bit, const struct call* c) {
    struct object o;
    struct text before = {0}, after = {0};
    long otherwise = 0;
    report->calls++;
    object_make(&o, bit);
    object_tell(&o, &before);
    object_end(&o);
    for (long n = 0; n <= MOST_FAILURES; n++) {
        need(lseek(MEMORY_FILE_FD, 0, SEEK_SET) == 0);
        object_make(&o, bit);
        limit_waits(true);
        attempt(&o, c, n);
        arm(0);
        limit_waits(false);
        const long result = report->result;
        const bool failed = report->failed;
        after.used = 0;
        object_tell(&o, &after);
        caller.result = result;
        give_back(&caller, c);
        object_end(&o);
        if (n == 0) {
            otherwise = result;
            continue;
        }
        if (!failed)
            return;
        report->failures++;
        if (result >= 0 || result == otherwise || result == -EINTR)
            continue;
        char got[64];
        snprintf(got, sizeof got, "result %ld", result);
        if (!says_so(c, -result))
            complain("another errno", got, " that");
        else if (strcmp(before.at, after.at) != 0)
            complain("it has left a trace", after.at, before.at);
    }
    complain("no end of it", NULL, NULL);
}

// A call that changes the process or ends it: each time in one of its own.
static void fail_in_turn_in_own(const struct call* c) {
    long otherwise = 0;
    report->calls++;
    for (long n = 0; n <= MOST_FAILURES; n++) {
        const pid_t child = fork();
        need(child >= 0);
        if (child == 0) {
            struct object o;
            object_make(&o, K_SELF);
            strcpy(o.x, "x");
            signal(SIGUSR1, SIG_IGN);
            attempt(&o, c, n);
            _exit(0);
        }
        const int status = reap(child);
        const bool ends = c->number == SYS_exit || c->number == SYS_exit_group;
        if (ends || (c->number == SYS_kill && c->a[1] == SIGTERM)) {
            // That it has come to pass cannot be seen from outside.
            if (ends ? !exited_with(status, (int)c->a[0]) : !killed_by(status, SIGTERM))
                complain("it does not end as it should", NULL, NULL);
            if (n == 8)
                return;
            continue;
        }
        char got[64];
        snprintf(got, sizeof got, "result %ld, wait status 0x%x", report->result, status);
        if (!report->came_back || !exited_with(status, 0)) {
            complain("the process has ended", got, " that");
            return;
        }
        if (n == 0) {
            otherwise = report->result;
            continue;
        }
        if (!report->failed)
            return;
        report->failures++;
        if (report->result < 0 && report->result != otherwise && !says_so(c, -report->result))
            complain("another errno", got, " that");
    }
    complain("no end of it", NULL, NULL);
}

// ---- All of them -------------------------------------------------------------------------------

static void* sleeper_main(void* unused) {
    (void)unused;
    sleeping_thread = (pid_t)syscall(SYS_gettid);
    for (;;)
        syscall(SYS_futex, &thread_word, WAIT | PRIVATE, 0, NULL, NULL, 0);
    return NULL;
}

static void one_call(unsigned kind, const struct call* c) {
    if (!(c->kinds & kinds[kind].bit) || is_elsewhere(kinds[kind].bit, c))
        return;
    report->kind = kind;
    report->call = c;
    if (kinds[kind].bit == K_SELF)
        fail_in_turn_in_own(c);
    else
        fail_in_turn(kinds[kind].bit, c);
}

// The calls of `kind` from `first` up to `last`, in a process of its own, so that what is left
// behind can be seen from outside.
static void worker(unsigned kind, int first, int last) {
    static const struct sigaction action = {.sa_handler = on_alarm}; // calls are not restarted
    static char data[4 * PAGE];
    sigset_t set;
    pthread_t thread;
    for (int fd = 3; fd <= LAST_OWN_FD; fd++)
        need(fd == POINTS_FD || dup2(STDIN_FILENO, fd) == fd);
    memset(data, 'M', sizeof data);
    place(open("memory", O_RDWR | O_CREAT | O_TRUNC, RW), MEMORY_FILE_FD);
    need(write(MEMORY_FILE_FD, data, sizeof data) == (ssize_t)sizeof data);
    need(unlink("memory") == 0);
    place(open(".", O_RDONLY | O_DIRECTORY), SCRATCH_FD);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    if (kinds[kind].bit == K_THREAD) {
        sigprocmask(SIG_BLOCK, &set, NULL); // the alarm is for the other one
        need(pthread_create(&thread, NULL, sleeper_main, NULL) == 0);
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        need(eventually(sleeping_thread != 0));
    }
    syscall(SYS_close_range, FIRST_MADE, ~0U, 0);
    for (int i = first; i < last; i++)
        one_call(kind, i < CALLS ? &calls[i] : &makers[i - CALLS]);
    _exit(0);
}

static void run_worker(unsigned kind, int first, int last) {
    const pid_t child = fork();
    need(child >= 0);
    if (child == 0)
        worker(kind, first, last);
    const int status = reap(child);
    if (!exited_with(status, 0)) {
        char got[64];
        snprintf(got, sizeof got, "wait status 0x%x", status);
        complain("the process has ended", got, " that");
    }
}

struct one_call {
    unsigned kind;
    int call;
};

static void run_one(const void* arg) {
    const struct one_call* one = arg;
    run_worker(one->kind, one->call, one->call + 1);
}

static void check_kind(unsigned kind, const char* only) {
    struct counts before;
    const long failures = report->failures, calls_before = report->calls, wrong = report->wrong;
    counts_take(&before);
    if (only != NULL)
        run_worker(kind, atoi(only), atoi(only) + 1);
    else
        run_worker(kind, 0, CALLS + MAKERS);
    if (counts_left(&before, false))
        for (int i = 0; i < CALLS + MAKERS; i++) {
            const struct one_call one = {kind, i};
            if (((i < CALLS ? &calls[i] : &makers[i - CALLS])->kinds & kinds[kind].bit) &&
                counts_left_by(run_one, &one))
                complain("that is left behind", NULL, NULL);
        }
    is(report->wrong, wrong, "%s: %ld calls, %ld failures", kinds[kind].name,
       report->calls - calls_before, report->failures - failures);
}

int main(int argc, char** argv) {
    const int fd = open("/proc/sys/vm/fail_allocation", O_RDWR | O_CLOEXEC);
    need(fd >= 0);
    place(fd, POINTS_FD);
    scratch_begin();
    remember_ptmx();
    report = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(report != MAP_FAILED);
    for (int i = 0; i < 3; i++) // so that this process has all that it needs
        run_worker(0, 0, 0);
    for (unsigned k = 0; k < KINDS; k++)
        if (argc < 2 || strcmp(argv[1], kinds[k].name) == 0)
            check_kind(k, argc > 2 ? argv[2] : NULL);
    if (argc < 2)
        ok(report->failures >= LEAST_IN_ALL, "%ld failures of %ld calls", report->failures,
           report->calls);
    give_ptmx_back();
    return done();
}

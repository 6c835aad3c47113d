// pairs [--all] [--seconds N] [--seed N] [--from N] [--kind NAME] [--pair CALL CALL]: every two calls
// on one object, from two threads (docs/pairs.md).
//
// A pair is tried one after the other, in both orders: what the two return then, and what the
// object is after it, are the outcomes that some order allows. Then it is tried at once, again and
// again, and with one of the two held inside of its call by a sync point
// (kernel/process/sync_point.h) while the other one goes through: every outcome must be one of
// those. Nothing may hang, and when a batch of pairs is over nothing may be left of it.
#include "pairs_arguments.h"

#include "../lib/counts.h"

#include <pthread.h>
#include <sched.h>

enum { ROUNDS = 4, BATCH = 20, HANG_SECONDS = 30, MOST_LOCKS = 40 };

static struct {
    bool all, out;
    double seconds;
    uint64_t seed;
    int from; // in the seed's order: where an earlier sample ended
    const char *kind, *first, *second;
} wanted = {.seconds = 4, .seed = 1};

static bool have_points; // a kernel with sync points

static uint64_t random_number(void) {
    static uint64_t state;
    if (state == 0)
        state = wanted.seed * 0x9e3779b97f4a7c15 + 1;
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

// ---- Two threads, a call each ------------------------------------------------------------------

static struct caller callers[2];
static unsigned event;         // a futex word: somebody is done
static volatile unsigned meet; // those that are to begin at once wait for each other
static volatile bool together;

static long futex(volatile unsigned* word, int operation, unsigned value,
                  const struct timespec* timeout) {
    return syscall(SYS_futex, word, operation | PRIVATE, value, timeout, NULL, 0);
}

static void make_call(struct caller* c) {
    c->result = raw_call(c->number, c->a);
    if (c->result == 0 &&
        (c->number == SYS_fork || c->number == SYS_vfork || (c->number == SYS_clone)))
        raw_call(SYS_exit_group, (long[6]){0});
}

// With --out: what the call's arguments point to, and what that points to, goes to swap first.
static void put_out(const struct caller* c) {
    const uintptr_t start = (uintptr_t)&c->area & -(uintptr_t)PAGE;
    madvise((void*)start, (uintptr_t)(&c->area + 1) - start, MADV_PAGEOUT);
    for (int i = 0; i < 6; i++)
        madvise((void*)(c->a[i] & -PAGE), PAGE, MADV_PAGEOUT);
}

static void* caller_main(void* argument) {
    struct caller* c = argument;
    unsigned round = 0;
    c->tid = (pid_t)syscall(SYS_gettid);
    __atomic_store_n(&c->done, true, __ATOMIC_RELEASE);
    for (;; round++) {
        while (__atomic_load_n(&c->go, __ATOMIC_ACQUIRE) == round)
            futex(&c->go, WAIT, round, NULL);
        if (wanted.out)
            put_out(c);
        if (together) {
            __atomic_fetch_add(&meet, 1, __ATOMIC_ACQ_REL);
            for (int i = 0; meet < 2; i++)
                if (i % 64 == 63)
                    sched_yield();
        }
        c->started = true;
        make_call(c);
        c->done = true;
        __atomic_fetch_add(&event, 1, __ATOMIC_RELEASE);
        futex(&event, WAKE, 1, NULL);
    }
    return NULL;
}

static void start(struct caller* c) {
    c->started = c->done = false;
    __atomic_fetch_add(&c->go, 1, __ATOMIC_RELEASE);
    futex(&c->go, WAKE, 1, NULL);
}

static char state_of(struct caller* c) {
    char text[256];
    ssize_t n = pread(c->stat_fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    const char* end = strrchr(text, ')');
    return end != NULL && end[1] == ' ' ? end[2] : 0;
}

// ---- Sync points -------------------------------------------------------------------------------

static const char* const points[] = {"object_found", "about_to_publish", "lock"};
enum { POINTS = 3, AT_LOCK = 2 };

static void point_store(char what, int point, pid_t tid, int times) {
    char text[64];
    int n = what == '-' ? snprintf(text, sizeof text, "-%s", points[point])
                        : snprintf(text, sizeof text, "+%s %d %d", points[point], tid, times);
    need(pwrite(POINTS_FD, text, (size_t)n, 0) == n);
}

static bool is_held(const struct caller* c, int point) {
    char text[1024], want[16];
    ssize_t n = pread(POINTS_FD, text, sizeof text - 1, 0);
    need(n > 0);
    text[n] = 0;
    char* line = strstr(text, points[point]);
    char* end = line ? strchr(line, '\n') : NULL;
    need(end != NULL);
    *end = 0;
    snprintf(want, sizeof want, " %d", c->tid);
    char* at = strchr(line, ':');
    return at != NULL && strstr(at, want) != NULL;
}

// ---- One round ---------------------------------------------------------------------------------

static const char* doing = ""; // what the watchdog tells
static struct {
    unsigned kind;
    int first, second;
} now_trying;

static void hang(const char* why) {
    diag("HANG: %s: %s and %s, %s: callers %c %c", why, calls[now_trying.first].name,
         calls[now_trying.second].name, doing, state_of(&callers[0]), state_of(&callers[1]));
    _exit(98);
}

static bool asleep(struct caller* c) { return c->started && state_of(c) == 'S' && !c->done; }

// Until each of the callers in `which` (bits) is done with its call or sleeps in it, or the one
// that is to be held is. Returns whether it is held.
static bool settle(unsigned which, int held, int point) {
    const int64_t end = now_ns() + (int64_t)HANG_SECONDS * 1000000000;
    for (int look = 0, quiet = 0;; look++) {
        const unsigned seen = __atomic_load_n(&event, __ATOMIC_ACQUIRE);
        bool all = true;
        for (int i = 0; i < 2; i++)
            all = all && (!(which >> i & 1) || callers[i].done);
        if (all)
            return false;
        if (look < 20) {
            sched_yield();
            continue;
        }
        if (held >= 0 && is_held(&callers[held], point))
            return true;
        // Twice the same, so that nobody is on his way between two states.
        bool still = true;
        for (int i = 0; i < 2; i++)
            still = still && (!(which >> i & 1) || callers[i].done || asleep(&callers[i]));
        quiet = still ? quiet + 1 : 0;
        if (quiet == 2)
            return false;
        futex(&event, WAIT, seen, &(struct timespec){0, 300000});
        if (now_ns() > end)
            hang("neither done nor asleep");
    }
}

// Ends all waits, so that both callers are done.
static void end_waits(struct object* o) {
    object_finish(o);
    settle(3, -1, 0);
    const int64_t end = now_ns() + (int64_t)HANG_SECONDS * 1000000000;
    while (!callers[0].done || !callers[1].done) {
        const unsigned seen = __atomic_load_n(&event, __ATOMIC_ACQUIRE);
        for (int i = 0; i < 2; i++)
            if (!callers[i].done)
                syscall(SYS_tgkill, getpid(), callers[i].tid, SIGUSR1);
        futex(&event, WAIT, seen, &(struct timespec){0, 1000000});
        if (now_ns() > end)
            hang("a signal does not end it");
    }
}

// Whether the call has told that the object, a child, has ended, and has taken it away.
static bool has_waited_for(const struct caller* c, const struct object* o) {
    const int* status = (const int*)c->area.bytes;
    const siginfo_t* info = (const siginfo_t*)c->area.bytes;
    if (o->kind != K_CHILD)
        return false;
    if (c->number == SYS_wait4)
        return c->result == o->id && !WIFSTOPPED(*status) && !WIFCONTINUED(*status);
    return c->number == SYS_waitid && c->result == 0 && !(c->a[3] & WNOWAIT) &&
           info->si_pid == o->id;
}

enum way { FIRST_THEN_SECOND, SECOND_THEN_FIRST, AT_ONCE, HELD };

// Who has found a name under /proc/PID finds the process gone one step later: the errno tells when.
static long told_result(const struct caller* c, const struct call* call) {
    if (c->result == -ESRCH && call->a[0] >= PID_STAT && call->a[0] <= PID_FD)
        return -ENOENT;
    return c->result < 0 || call->result == VALUE ? c->result : 0;
}

// One try of a pair. Which is held, where and at which time it comes there: for HELD; false if it
// did not come there so often.
static bool try_pair(unsigned kind, int first, int second, enum way way, int held, int point,
                     int times, struct text* outcome) {
    struct object o;
    const int pair[2] = {first, second};
    bool came = true;
    object_make(&o, kind);
    for (int i = 0; i < 2; i++) {
        prepare(&callers[i], &o, &calls[pair[i]]);
        callers[i].done = callers[i].started = true;
    }
    together = way == AT_ONCE;
    meet = 0;
    if (way == AT_ONCE) {
        start(&callers[0]);
        start(&callers[1]);
    } else {
        const int early = way == HELD ? held : way == FIRST_THEN_SECOND ? 0 : 1;
        if (way == HELD)
            point_store('+', point, callers[early].tid, times);
        start(&callers[early]);
        came = settle(1U << early, way == HELD ? early : -1, point);
        start(&callers[!early]);
        if (came) {
            // The other one may need a lock that the held one has: then it is neither done nor
            // asleep, and goes on when that one does.
            const int64_t end = now_ns() + 20000000;
            while (!callers[!early].done && !asleep(&callers[!early]) && now_ns() < end)
                futex(&event, WAIT, event, &(struct timespec){0, 300000});
        }
        if (way == HELD)
            point_store('-', point, 0, 0);
    }
    settle(3, -1, 0);
    end_waits(&o);
    for (int i = 0; i < 2; i++)
        if (calls[pair[i]].result == CHILD_MADE && callers[i].result > 0)
            reap((pid_t)callers[i].result);
    outcome->used = 0;
    outcome->results[0] = callers[0].result;
    outcome->results[1] = callers[1].result;
    outcome->waited_for = has_waited_for(&callers[0], &o) + has_waited_for(&callers[1], &o);
    tell(outcome, "%ld %ld;", told_result(&callers[0], &calls[first]),
         told_result(&callers[1], &calls[second]));
    object_tell(&o, outcome);
    for (int i = 0; i < 2; i++)
        give_back(&callers[i], &calls[pair[i]]);
    object_end(&o);
    return came;
}

// What the worker tells the program's first process.
static struct report {
    volatile long pairs, rounds, held, failures;
}* report;

// ---- A process of its own for each round: K_SELF -----------------------------------------------

static unsigned calls_made; // in this process

// The last of the two that comes here ends the process. One whose call is exit does not come.
static void* call_and_end(void* c) {
    make_call(c);
    if (__atomic_add_fetch(&calls_made, 1, __ATOMIC_ACQ_REL) == 2)
        _exit(0);
    for (;;)
        pause();
}

// What ends a process says how it has ended. If neither call does, call_and_end() does.
static bool may_end_so(int status, const struct call* first, const struct call* second) {
    const struct call* const pair[2] = {first, second};
    bool ends = false;
    for (int i = 0; i < 2; i++) {
        const struct call* c = pair[i];
        const bool executes = c->number == SYS_execve || c->number == SYS_execveat;
        const bool leaves = c->number == SYS_exit_group;
        const bool kills = c->number == SYS_kill && c->a[1] == SIGTERM;
        if ((executes && exited_with(status, 0)) || (leaves && exited_with(status, 4)) ||
            (kills && killed_by(status, SIGTERM)))
            return true;
        ends = ends || executes || leaves || kills;
    }
    const bool no_thread_left = first->number == SYS_exit && second->number == SYS_exit;
    return !ends && exited_with(status, no_thread_left ? 3 : 0);
}

static void try_own_process(int first, int second) {
    int status;
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        struct object o;
        pthread_t thread;
        object_make(&o, K_SELF);
        signal(SIGUSR1, SIG_IGN);
        prepare(&callers[0], &o, &calls[first]);
        prepare(&callers[1], &o, &calls[second]);
        calls_made = (calls[first].number == SYS_exit) + (calls[second].number == SYS_exit);
        need(pthread_create(&thread, NULL, call_and_end, &callers[1]) == 0);
        call_and_end(&callers[0]);
    }
    const int64_t end = now_ns() + (int64_t)HANG_SECONDS * 1000000000;
    while (waitpid(child, &status, WNOHANG) == 0) {
        if (now_ns() > end) {
            kill(child, SIGKILL);
            hang("its process does not end");
        }
        breathe();
    }
    if (!may_end_so(status, &calls[first], &calls[second])) {
        report->failures++;
        diag("own process: %s [%d] and %s [%d]: ended with %#x", calls[first].name, first,
             calls[second].name, second, status);
    }
}

// ---- The pairs ---------------------------------------------------------------------------------

struct pair {
    unsigned char kind; // index into kinds
    short first, second;
};

// A wait with a time limit of nothing is over before another call can come, in any order; but one
// that comes while it lasts finds it there.
static bool waits_for_nothing(const struct call* c) {
    return c->number == SYS_poll || c->number == SYS_ppoll || c->number == SYS_select ||
           c->number == SYS_pselect6 || (c->number == SYS_futex && c->a[3] == NO_TIME);
}

// These read the positions of two files, move, and set them, in steps that another call on either
// file comes between, on Linux, too.
static bool moves_in_steps(const struct call* c) {
    return c->number == SYS_sendfile || c->number == SYS_copy_file_range;
}

static bool has_no_one_moment(const struct call* c) {
    return waits_for_nothing(c) || moves_in_steps(c);
}

// A record lock that is granted when its descriptor is another's is none: EBADF.
static bool lost_descriptor(const struct call* c, long result) {
    return c->number == SYS_fcntl && result == -EBADF;
}

// link finds its two names one after the other, on Linux, too, and the other call comes between.
static bool lost_name(const struct call* c, long result) {
    return (c->number == SYS_link || c->number == SYS_linkat) &&
           (result == -EEXIST || result == -ENOENT);
}

// Whether one of the two found that the other one had come between, and left no trace.
static bool came_between(const struct pair* p, const struct text* got,
                         const struct text allowed[2]) {
    const int pair[2] = {p->first, p->second};
    for (int i = 0; i < 2; i++)
        if (lost_descriptor(&calls[pair[i]], callers[i].result) ||
            lost_name(&calls[pair[i]], callers[i].result))
            for (int order = 0; order < 2; order++)
                if (strcmp(strchr(got->at, ';'), strchr(allowed[order].at, ';')) == 0)
                    return true;
    return false;
}

// Two wait for a lock that one of them gets: whoever runs first when it is let go, in any order.
static bool one_has_the_lock(const struct pair* p, const struct text* got) {
    const struct call *first = &calls[p->first], *second = &calls[p->second];
    if (first->number != SYS_fcntl || second->number != SYS_fcntl || first->a[1] != F_SETLKW ||
        second->a[1] != F_OFD_SETLKW)
        return false;
    const char* owner = got->results[0] == 0 ? "of a process" : "of a file";
    return got->results[0] + got->results[1] == -EINTR &&
           (got->results[0] == 0 || got->results[1] == 0) && strstr(got->at, owner) != NULL;
}

// A child that sleeps until it is killed, with calls whose results say how far that is: it is
// waited for once at most, is there until then, and dies of what it was sent. A call either does
// what it does in some order, or finds that the child has ended.
static bool child_is_right(const struct pair* p, const struct text* got,
                           const struct text allowed[2]) {
    const bool by_term =
        calls[p->first].number == SYS_tkill || calls[p->second].number == SYS_tkill;
    char killed[32], terminated[32];
    snprintf(killed, sizeof killed, "; %d by %d", CLD_KILLED, SIGKILL);
    snprintf(terminated, sizeof terminated, "; %d by %d", CLD_KILLED, SIGTERM);
    const char* state = strchr(got->at, ';');
    if (got->waited_for == 0
            ? strcmp(state, killed) != 0 && !(by_term && strcmp(state, terminated) == 0)
            : got->waited_for > 1 || atoi(state + strlen("; errno ")) != ECHILD)
        return false;
    for (int i = 0; i < 2; i++) {
        const long r = got->results[i];
        if (r < 0 && r != allowed[0].results[i] && r != allowed[1].results[i] && r != -ESRCH &&
            r != -ECHILD && r != -ENOENT && r != -EINTR)
            return false;
    }
    return true;
}

// Whether the outcome is one that some order allows.
static bool is_allowed(const struct pair* p, const struct text* got, const struct text allowed[2]) {
    if (strstr(got->at, IMPOSSIBLE))
        return false;
    if (kinds[p->kind].bit == K_CHILD)
        return child_is_right(p, got, allowed);
    return one_has_the_lock(p, got) || has_no_one_moment(&calls[p->first]) ||
           has_no_one_moment(&calls[p->second]) || strcmp(got->at, allowed[0].at) == 0 ||
           strcmp(got->at, allowed[1].at) == 0 || came_between(p, got, allowed);
}

static void refuse(const struct pair* p, const char* how, const struct text* got,
                   const struct text allowed[2]) {
    report->failures++;
    diag("%s: %s [%d] and %s [%d], %s:", kinds[p->kind].name, calls[p->first].name, p->first,
         calls[p->second].name, p->second, how);
    diag("  got       %s", got->at);
    diag("  in order  %s", allowed[0].at);
    diag("  or        %s", allowed[1].at);
    diag("  again: pairs --kind '%s' --pair %d %d", kinds[p->kind].name, p->first, p->second);
}

static void check_pair(const struct pair* p) {
    const struct kind* k = &kinds[p->kind];
    struct text allowed[2], got;
    char how[64];
    now_trying.kind = k->bit;
    now_trying.first = p->first;
    now_trying.second = p->second;
    report->pairs++;
    if (k->bit == K_SELF) {
        for (int i = 0; i < ROUNDS / 2; i++, report->rounds++)
            try_own_process(p->first, p->second);
        return;
    }
    doing = "one after the other";
    try_pair(k->bit, p->first, p->second, FIRST_THEN_SECOND, 0, 0, 0, &allowed[0]);
    try_pair(k->bit, p->first, p->second, SECOND_THEN_FIRST, 0, 0, 0, &allowed[1]);
    report->rounds += 2;
    for (int i = 0; i < 2; i++)
        if (!is_allowed(p, &allowed[i], allowed)) {
            refuse(p, doing, &allowed[i], allowed);
            return;
        }
    doing = "at once";
    for (int i = 0; i < ROUNDS; i++, report->rounds++) {
        try_pair(k->bit, p->first, p->second, AT_ONCE, 0, 0, 0, &got);
        if (!is_allowed(p, &got, allowed)) {
            refuse(p, doing, &got, allowed);
            return;
        }
    }
    for (int held = 0; have_points && held < 2; held++)
        for (int point = 0; point < POINTS; point++) {
            const int most = point == AT_LOCK ? MOST_LOCKS : 3;
            // All of them, or one that chance chooses.
            int times = wanted.all || wanted.first ? 1 : 1 + (int)(random_number() % 12) % most;
            for (bool came = true; came && times <= most; times++) {
                snprintf(how, sizeof how, "caller %d held at %s %d", held, points[point], times);
                doing = how;
                came = try_pair(k->bit, p->first, p->second, HELD, held, point, times, &got);
                report->rounds++;
                report->held += came;
                if (!is_allowed(p, &got, allowed)) {
                    refuse(p, how, &got, allowed);
                    return;
                }
                if (!wanted.all && !wanted.first)
                    break;
            }
        }
}

static void on_signal(int signo) { (void)signo; }

static void* sleeper_main(void* unused) {
    (void)unused;
    sleeping_thread = (pid_t)syscall(SYS_gettid);
    for (;;)
        futex(&thread_word, WAIT, 0, NULL);
    return NULL;
}

// A process of its own, so that what a batch leaves behind can be seen from outside.
static void worker(const struct pair* pairs, int n) {
    static const struct sigaction action = {.sa_handler = on_signal}; // calls are not restarted
    pthread_t thread;
    sigset_t set;
    for (int fd = 3; fd <= LAST_OWN_FD; fd++)
        need(fd == POINTS_FD || dup2(STDIN_FILENO, fd) == fd);
    static char data[4 * PAGE];
    memset(data, 'M', sizeof data);
    place(open("memory", O_RDWR | O_CREAT | O_TRUNC, RW), MEMORY_FILE_FD);
    need(write(MEMORY_FILE_FD, data, sizeof data) == (ssize_t)sizeof data);
    need(unlink("memory") == 0);
    place(open(".", O_RDONLY | O_DIRECTORY), SCRATCH_FD);
    sigaction(SIGUSR1, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    need(pthread_create(&thread, NULL, sleeper_main, NULL) == 0);
    need(eventually(sleeping_thread != 0));
    for (int i = 0; i < 2; i++) {
        struct caller* c = &callers[i];
        char path[64];
        need(pthread_create(&thread, NULL, caller_main, c) == 0);
        need(eventually(__atomic_load_n(&c->done, __ATOMIC_ACQUIRE)));
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", c->tid);
        place(open(path, O_RDONLY), 13 + i);
        c->stat_fd = 13 + i;
    }
    syscall(SYS_close_range, FIRST_MADE, ~0U, 0);
    for (int i = 0; i < n; i++) {
        need(lseek(MEMORY_FILE_FD, 0, SEEK_SET) == 0);
        check_pair(&pairs[i]);
    }
    _exit(0);
}

static int run_worker(const struct pair* pairs, int n) {
    pid_t child = fork();
    need(child >= 0);
    if (child == 0)
        worker(pairs, n);
    return reap(child);
}

static void run_pair(const void* pair) { run_worker(pair, 1); }

static void run_batch(const struct pair* pairs, int n) {
    struct counts before;
    const long pairs_before = report->pairs;
    if (on_spork())
        counts_take(&before);
    const int status = run_worker(pairs, n);
    if (!exited_with(status, 0)) {
        report->failures++;
        const struct pair* p = &pairs[report->pairs - pairs_before - 1];
        diag("a process that tried pairs ended with %#x, at %s: %s [%d] and %s [%d]", status,
             kinds[p->kind].name, calls[p->first].name, p->first, calls[p->second].name, p->second);
    }
    if (!on_spork() || !counts_left(&before, false))
        return;
    for (const struct pair* p = pairs; p < pairs + n; p++)
        if (counts_left_by(run_pair, p)) {
            report->failures++;
            diag("that is left behind each time by %s: %s [%d] and %s [%d]", kinds[p->kind].name,
                 calls[p->first].name, p->first, calls[p->second].name, p->second);
        }
}

// Whether the call can be made here: Linux has not all of Spork's calls.
static bool possible(const struct call* c) {
    return on_spork() || (c->number < 0x5000 && c->number != SYS_mount && c->number != SYS_umount2);
}

static struct pair* all_pairs(int* count) {
    static struct pair pairs[120000];
    int n = 0;
    for (int k = 0; k < KINDS; k++) {
        if (wanted.kind && strcmp(wanted.kind, kinds[k].name) != 0)
            continue;
        if (kinds[k].bit & (K_DEVICE | K_TTY) && !on_spork()) // not everybody may make these
            continue;
        for (int i = 0; i < CALLS; i++)
            for (int j = i; j < CALLS; j++) {
                if (!(calls[i].kinds & calls[j].kinds & kinds[k].bit) || !possible(&calls[i]) ||
                    !possible(&calls[j]))
                    continue;
                if (wanted.out && (i != j || calls[i].kinds & (kinds[k].bit - 1)))
                    continue;
                if (wanted.first && (atoi(wanted.first) != i || atoi(wanted.second) != j))
                    continue;
                need(n < (int)(sizeof pairs / sizeof pairs[0]));
                pairs[n++] = (struct pair){(unsigned char)k, (short)i, (short)j};
            }
    }
    *count = n;
    return pairs;
}

// ---- What the kernel has -----------------------------------------------------------------------

static const struct {
    long number;
    const char* name;
} kernel_calls[] = {
#define SYSCALL(number, name, ...) {number, #name},
#include "kernel/abi/syscalls.def"
#undef SYSCALL
};

static bool has_word(const char* words, const char* word) {
    const size_t n = strlen(word);
    for (const char* at = words; (at = strstr(at, word)) != NULL; at++)
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == 0))
            return true;
    return false;
}

static void every_call_is_known(void) {
    int missing = 0, out = 0;
    const int n = (int)(sizeof kernel_calls / sizeof kernel_calls[0]);
    for (int i = 0; i < n; i++) {
        bool known = false;
        for (int j = 0; j < CALLS && !known; j++)
            known = calls[j].number == kernel_calls[i].number;
        for (size_t j = 0; j < sizeof left_out / sizeof left_out[0] && !known; j++)
            if (has_word(left_out[j].names, kernel_calls[i].name))
                known = true, out++;
        if (!known)
            missing++, diag("neither in a pair nor left out: %s", kernel_calls[i].name);
    }
    is(missing, 0, "all of the kernel's %d calls are in pairs or left out with a reason (%d)", n,
       out);
}

int main(int argc, char** argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--exit") == 0)
            return 0;
        if (strcmp(argv[i], "--all") == 0)
            wanted.all = true;
        else if (strcmp(argv[i], "--out") == 0) // each call with itself, on one kind
            wanted.all = wanted.out = true;
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            wanted.seconds = atof(argv[++i]);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            wanted.seed = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--from") == 0 && i + 1 < argc)
            wanted.from = atoi(argv[++i]);
        else if (strcmp(argv[i], "--kind") == 0 && i + 1 < argc)
            wanted.kind = argv[++i];
        else if (strcmp(argv[i], "--pair") == 0 && i + 2 < argc)
            wanted.first = argv[++i], wanted.second = argv[++i];
        else
            return diag("unknown: %s", argv[i]), 2;
    }
    scratch_begin();
    remember_ptmx();
    report = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(report != MAP_FAILED);
    every_call_is_known();
    int fd = open("/proc/sys/kernel/sync_points", O_RDWR | O_CLOEXEC);
    if (fd >= 0 && !wanted.out) { // which would hold it before its call
        have_points = pwrite(fd, "-lock", 5, 0) == 5;
        place(fd, POINTS_FD);
    }
    int n;
    struct pair* pairs = all_pairs(&n);
    need(n > 0);
    diag("%d pairs, seed %llu, %ld processors, %s", n, (unsigned long long)wanted.seed,
         sysconf(_SC_NPROCESSORS_ONLN), have_points ? "with sync points" : "without sync points");
    if (!wanted.all) // a sample, in an order of its own
        for (int i = n - 1; i > 0; i--) {
            const int j = (int)(random_number() % (unsigned)(i + 1));
            const struct pair p = pairs[i];
            pairs[i] = pairs[j];
            pairs[j] = p;
        }
    for (int i = 0; i < 3; i++) // so that this process has all that it needs
        run_batch(pairs, 0);
    const int64_t end = now_ns() + (int64_t)(wanted.seconds * 1e9);
    int at = wanted.from;
    for (; at < n && (wanted.all || now_ns() < end); at += BATCH)
        run_batch(&pairs[at], n - at < BATCH ? n - at : BATCH);
    diag("%ld pairs in %ld rounds, in %ld of which one call was held inside; %s %d", report->pairs,
         report->rounds, report->held, at < n ? "go on with --from" : "those were all", at);
    is(report->failures, 0, "two calls on one object, from two threads");
    give_ptmx_back();
    return done();
}

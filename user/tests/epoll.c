// epoll: levels, edges, once, exclusive, epolls in epolls, and what ends while it is watched.
#include "../lib/counts.h"
#include "../lib/proc.h"
#include "../lib/spork.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

enum { EXCLUSIVE = EPOLLIN | EPOLLEXCLUSIVE };

static int make(void) {
    int e = epoll_create1(EPOLL_CLOEXEC);
    need(e >= 0);
    return e;
}

static int control(int e, int operation, int fd, unsigned events) {
    struct epoll_event event = {.events = events, .data.u64 = 0x100000000u | (unsigned)fd};
    return epoll_ctl(e, operation, fd, &event);
}

static void add(int e, int fd, unsigned events) {
    need(control(e, EPOLL_CTL_ADD, fd, events) == 0);
}

// The events of the first that is ready; -1: none is.
static int first(int e, int timeout) {
    struct epoll_event event;
    int n = epoll_wait(e, &event, 1, timeout);
    need(n >= 0);
    return n ? (int)event.events : -1;
}

static void arguments(void) {
    struct epoll_event event = {EPOLLIN, {0}};
    is_errno(syscall(SYS_epoll_create, 0), EINVAL, "a size of nothing");
    is_errno(epoll_create1(O_NONBLOCK), EINVAL, "a flag that is none");
    int e = make(), p[2];
    is(fcntl(e, F_GETFD), FD_CLOEXEC, "closed on exec");
    need(pipe(p) == 0);
    is_errno(epoll_ctl(e, EPOLL_CTL_ADD, 900, &event), EBADF, "a file that is not open");
    is_errno(epoll_ctl(900, EPOLL_CTL_ADD, p[0], &event), EBADF, "an epoll that is not open");
    is_errno(epoll_ctl(p[0], EPOLL_CTL_ADD, p[1], &event), EINVAL, "an epoll that is none");
    is_errno(epoll_ctl(e, EPOLL_CTL_ADD, e, &event), EINVAL, "an epoll in itself");
    is_errno(epoll_ctl(e, 7, p[0], &event), EINVAL, "an operation that is none");
    is_errno(epoll_ctl(e, EPOLL_CTL_ADD, p[0], NULL), EFAULT, "no event");
    is_errno(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &event), ENOENT, "changed before it is there");
    is_errno(epoll_ctl(e, EPOLL_CTL_DEL, p[0], NULL), ENOENT, "taken out before it is there");
    add(e, p[0], EPOLLIN);
    is_errno(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &event), EEXIST, "put in twice");
    int copy = dup(p[0]);
    is(epoll_ctl(e, EPOLL_CTL_ADD, copy, &event), 0, "by another descriptor it is another");
    is(epoll_ctl(e, EPOLL_CTL_DEL, p[0], NULL), 0, "taken out");
    int regular = open("/proc/self/exe", O_RDONLY), place = open("/", O_PATH);
    is_errno(epoll_ctl(e, EPOLL_CTL_ADD, regular, &event), EPERM, "a regular file");
    is_errno(epoll_ctl(e, EPOLL_CTL_ADD, open("/", O_RDONLY), &event), EPERM, "a directory");
    is_errno(epoll_ctl(e, EPOLL_CTL_ADD, open("/dev/null", O_RDWR), &event), EPERM, "/dev/null");
    is_errno(epoll_ctl(e, EPOLL_CTL_ADD, place, &event), EBADF, "O_PATH");
    is_errno(epoll_wait(e, &event, 0, 0), EINVAL, "no room for any");
    is_errno(epoll_wait(e, &event, -1, 0), EINVAL, "less than none");
    is_errno(epoll_wait(p[0], &event, 1, 0), EINVAL, "a wait for what is no epoll");
    is_errno(epoll_wait(900, &event, 1, 0), EBADF, "or nothing");
    need(write(p[1], "x", 1) == 1);
    is_errno(epoll_wait(e, (void*)8, 1, 0), EFAULT, "events to nowhere");
    is(first(e, 0), EPOLLIN, "are not lost");
}

static void levels(void) {
    int e = make(), p[2];
    char byte;
    need(pipe(p) == 0);
    add(e, p[0], EPOLLIN);
    is(first(e, 0), -1, "an empty pipe");
    need(write(p[1], "ab", 2) == 2);
    struct epoll_event event;
    is(epoll_wait(e, &event, 1, -1), 1, "something is in it");
    is(event.events, EPOLLIN, "to read");
    is(event.data.u64, 0x100000000u | (unsigned)p[0], "with its data");
    need(read(p[0], &byte, 1) == 1);
    is(first(e, 0), EPOLLIN, "a level: as long as there is more");
    need(read(p[0], &byte, 1) == 1);
    is(first(e, 0), -1, "and no longer");
    is(control(e, EPOLL_CTL_MOD, p[0], 0), 0, "wanted for nothing");
    need(write(p[1], "c", 1) == 1);
    is(first(e, 0), -1, "it says nothing");
    close(p[1]);
    is(first(e, 0), EPOLLHUP, "but that it was hung up");
    need(pipe(p) == 0);
    add(e, p[1], EPOLLIN | EPOLLOUT);
    struct epoll_event two[2];
    is(epoll_wait(e, two, 2, 0), 2, "two at once");
    is(epoll_wait(e, two, 1, 0) == 1 && epoll_wait(e, two + 1, 1, 0) == 1 &&
           two[0].data.u64 != two[1].data.u64,
       1, "with room for one they take turns");
}

static void edges(void) {
    int e = make(), p[2];
    char byte;
    need(pipe2(p, O_NONBLOCK) == 0);
    add(e, p[0], EPOLLIN | EPOLLET);
    add(e, p[1], EPOLLOUT | EPOLLET);
    is(first(e, 0), EPOLLOUT, "there is room at first");
    is(first(e, 0), -1, "which is said once");
    need(write(p[1], "ab", 2) == 2);
    is(first(e, 0), EPOLLIN, "something to read");
    is(first(e, 0), -1, "likewise");
    need(read(p[0], &byte, 1) == 1);
    need(control(e, EPOLL_CTL_DEL, p[1], 0) == 0);
    is(first(e, 0), -1, "what is left of it is no edge");
    need(write(p[1], "c", 1) == 1);
    is(first(e, 0), EPOLLIN, "more is one");
    is(control(e, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLET), 0,
       "and so is a change of what is wanted");
    is(first(e, 0), EPOLLIN, "reported");
    need(control(e, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT) == 0);
    is(first(e, 0), EPOLLIN, "once");
    need(write(p[1], "d", 1) == 1);
    is(first(e, 0), -1, "and not again, whatever comes");
    need(control(e, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT) == 0);
    is(first(e, 0), EPOLLIN, "until it is wanted again");
    close(p[1]);
    is(first(e, 0), -1, "not even a hang-up");
}

static void closed(void) {
    int e = make(), p[2];
    need(pipe(p) == 0);
    add(e, p[0], EPOLLIN);
    int copy = dup(p[0]);
    need(write(p[1], "x", 1) == 1);
    close(p[0]);
    is(first(e, 0), EPOLLIN, "closed, but not by all descriptors: it is still in");
    is_errno(control(e, EPOLL_CTL_DEL, p[0], 0), EBADF, "though nobody can take it out");
    close(copy);
    is(first(e, 0), -1, "closed by the last it is out");
    need(pipe(p) == 0);
    add(e, p[0], EPOLLIN);
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    need(write(p[1], "x", 1) == 1);
    close(p[0]);
    is(first(e, 0), EPOLLIN, "a child has it too");
    kill(child, SIGKILL);
    need(waitpid(child, NULL, 0) == child);
    is(first(e, 0), -1, "until its end");
}

static void nested(void) {
    int p[2], row[6];
    need(pipe(p) == 0);
    for (int i = 0; i < 6; i++)
        row[i] = make();
    for (int i = 0; i < 4; i++)
        is(control(row[i], EPOLL_CTL_ADD, row[i + 1], EPOLLIN), 0, "%d epolls in each other",
           i + 2);
    is_errno(control(row[4], EPOLL_CTL_ADD, row[5], EPOLLIN), ELOOP, "but not six");
    is_errno(control(row[5], EPOLL_CTL_ADD, row[0], EPOLLIN), ELOOP, "whichever comes last");
    is_errno(control(row[4], EPOLL_CTL_ADD, row[2], EPOLLIN), ELOOP, "nor in a circle");
    is_errno(control(row[5], EPOLL_CTL_ADD, row[4], EXCLUSIVE), EINVAL, "nor exclusively");
    is(control(row[1], EPOLL_CTL_ADD, row[4], EPOLLIN), 0, "one in two others");
    add(row[4], p[0], EPOLLIN);
    is(first(row[0], 0), -1, "nothing in the innermost");
    struct pollfd outer = {row[0], POLLIN, 0};
    is(poll(&outer, 1, 0), 0, "by poll, too");
    need(write(p[1], "x", 1) == 1);
    is(first(row[0], -1), EPOLLIN, "the outermost has something");
    is(poll(&outer, 1, -1), 1, "by poll, too");
    is(first(row[4], 0), EPOLLIN, "and the innermost");
    char byte;
    need(read(p[0], &byte, 1) == 1);
    is(first(row[0], 0), -1, "until it is read");
    need(control(row[0], EPOLL_CTL_MOD, row[1], EPOLLIN | EPOLLET) == 0);
    for (int i = 0; i < 2; i++) {
        need(write(p[1], "x", 1) == 1);
        is(first(row[0], 0), EPOLLIN, "each change is an edge");
        is(first(row[0], 0), -1, "once");
    }
    close(row[1]);
    is(first(row[0], 0), -1, "one between them ends");
    is(first(row[4], 0), EPOLLIN, "what was in it does not");
}

static int shared, ends[2];

static void* waiter(void* timeout) {
    struct epoll_event event;
    return (void*)(intptr_t)epoll_wait(shared, &event, 1, (int)(intptr_t)timeout);
}

static void* own_waiter(void* fd) {
    struct epoll_event event;
    return (void*)(intptr_t)epoll_wait((int)(intptr_t)fd, &event, 1, 1000);
}

static long joined(pthread_t t) {
    void* result;
    need(pthread_join(t, &result) == 0);
    return (long)result;
}

static void waiters(void) {
    enum { THREADS = 4 };
    pthread_t t[THREADS];
    need(pipe(ends) == 0);
    shared = make();
    add(shared, ends[0], EPOLLIN | EPOLLET);
    for (int i = 0; i < THREADS; i++)
        need(pthread_create(&t[i], NULL, waiter, (void*)500) == 0);
    for (int i = 0; i < 100; i++)
        breathe();
    need(write(ends[1], "x", 1) == 1);
    long woken = 0;
    for (int i = 0; i < THREADS; i++)
        woken += joined(t[i]);
    is(woken, 1, "an edge is one waiter's");
    need(control(shared, EPOLL_CTL_MOD, ends[0], EPOLLIN) == 0);
    for (int i = 0; i < THREADS; i++)
        need(pthread_create(&t[i], NULL, waiter, (void*)-1) == 0);
    woken = 0;
    for (int i = 0; i < THREADS; i++)
        woken += joined(t[i]);
    is(woken, THREADS, "a level is everybody's");
    // One epoll each, all of which watch one pipe.
    int e[THREADS];
    char byte;
    need(read(ends[0], &byte, 1) == 1);
    for (int i = 0; i < THREADS; i++) {
        e[i] = make();
        add(e[i], ends[0], EXCLUSIVE | EPOLLET);
        need(pthread_create(&t[i], NULL, own_waiter, (void*)(intptr_t)e[i]) == 0);
    }
    for (int i = 0; i < 100; i++)
        breathe();
    need(write(ends[1], "x", 1) == 1);
    woken = 0;
    for (int i = 0; i < THREADS; i++)
        woken += joined(t[i]);
    ok(woken >= 1 && woken < THREADS, "exclusively: some, but not all (%ld)", woken);
    is_errno(control(e[0], EPOLL_CTL_MOD, ends[0], EPOLLIN), EINVAL, "which cannot be changed");
    is_errno(control(shared, EPOLL_CTL_MOD, ends[0], EXCLUSIVE), EINVAL, "nor begun");
    is_errno(control(shared, EPOLL_CTL_ADD, ends[1], EPOLLEXCLUSIVE | EPOLLPRI), EINVAL,
             "nor for all events");
}

static void nothing(int signo) { (void)signo; }

static void times(void) {
    int e = make(), p[2];
    struct epoll_event event;
    need(pipe(p) == 0);
    add(e, p[0], EPOLLIN);
    int64_t begin = now_ns();
    is(epoll_wait(e, &event, 1, 30), 0, "a time that ends");
    ok(now_ns() - begin >= 30000000, "not before its time");
    begin = now_ns();
    struct timespec t = {0, 20000000}, wrong = {0, 1000000000};
    long n = syscall(SYS_epoll_pwait2, e, &event, 1, &t, NULL, 8);
    is(n, 0, "epoll_pwait2");
    ok(now_ns() - begin >= 20000000, "with nanoseconds");
    is_errno(syscall(SYS_epoll_pwait2, e, &event, 1, &wrong, NULL, 8), EINVAL, "too many of them");
    signal(SIGALRM, nothing);
    sigset_t all, before;
    sigfillset(&all);
    sigemptyset(&before);
    alarm(1);
    is_errno(epoll_wait(e, &event, 1, -1), EINTR, "a signal ends it");
    need(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
    raise(SIGALRM);
    is(epoll_wait(e, &event, 1, 10), 0, "but not one that is blocked");
    is_errno(epoll_pwait(e, &event, 1, -1, &before), EINTR, "unless the call lets it in");
    is_errno(syscall(SYS_epoll_pwait, e, &event, 1, 0, &before, 4), EINVAL,
             "a mask of another size");
}

// Everything that can be waited for.
static void kinds(void) {
    int e = make();
    int event = eventfd(0, EFD_NONBLOCK), timer = timerfd_create(CLOCK_MONOTONIC, 0);
    uint64_t one = 1;
    add(e, event, EPOLLIN | EPOLLET);
    is(first(e, 0), -1, "an eventfd of 0");
    need(write(event, &one, 8) == 8);
    is(first(e, 0), EPOLLIN, "and of 1");
    need(write(event, &one, 8) == 8);
    is(first(e, 0), EPOLLIN, "each write is an edge");
    need(read(event, &one, 8) == 8);
    is(first(e, 0), -1, "a read is none");
    add(e, timer, EPOLLIN);
    struct itimerspec soon = {{0, 0}, {0, 10000000}};
    need(timerfd_settime(timer, 0, &soon, NULL) == 0);
    is(first(e, -1), EPOLLIN, "a timer");
    close(timer);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    need(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    int signals = signalfd(-1, &set, 0);
    add(e, signals, EPOLLIN);
    pid_t child = fork();
    if (child == 0) {
        breathe();
        kill(getppid(), SIGUSR1);
        _exit(0);
    }
    is(first(e, -1), EPOLLIN, "a signal");
    close(signals);
    int pidfd = (int)syscall(434, child, 0);
    add(e, pidfd, EPOLLIN);
    is(first(e, -1) & EPOLLIN, EPOLLIN, "the end of a process");
    need(waitpid(child, NULL, 0) == child);
}

// Its maker put a signalfd in and ended: what it was told by must not be gone.
static void signals_of_the_dead(void) {
    int e = make(), p[2];
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    need(sigprocmask(SIG_BLOCK, &set, NULL) == 0 && pipe(p) == 0);
    int signals = signalfd(-1, &set, 0);
    pid_t child = fork();
    if (child == 0) {
        add(e, signals, EPOLLIN);
        _exit(0);
    }
    need(waitpid(child, NULL, 0) == child);
    raise(SIGUSR1);
    close(signals);
    is(first(e, 0), -1, "nothing is left of it");
}

enum { ROUNDS = 300 };
static _Atomic int going = 1;

static void* opens_and_closes(void* unused) {
    for (int i = 0; i < ROUNDS; i++) {
        int p[2];
        need(pipe(p) == 0);
        add(shared, p[0], EPOLLIN | (i % 2 ? EPOLLET : 0));
        need(write(p[1], "x", 1) == 1);
        if (i % 3 == 0)
            need(control(shared, EPOLL_CTL_DEL, p[0], 0) == 0);
        close(p[i % 2]);
        close(p[!(i % 2)]);
    }
    return unused;
}

static void* waits(void* unused) {
    struct epoll_event event[3];
    while (going)
        need(epoll_wait(shared, event, 3, 1) >= 0);
    return unused;
}

// Files come, end and tell while others wait.
static void at_once(void) {
    pthread_t makers[3], waiting[2];
    int outer = make();
    shared = make();
    add(outer, shared, EPOLLIN | EPOLLET);
    for (int i = 0; i < 2; i++)
        need(pthread_create(&waiting[i], NULL, waits, NULL) == 0);
    for (int i = 0; i < 3; i++)
        need(pthread_create(&makers[i], NULL, opens_and_closes, NULL) == 0);
    for (int i = 0; i < 3; i++)
        (void)joined(makers[i]);
    going = 0;
    for (int i = 0; i < 2; i++)
        (void)joined(waiting[i]);
    is(first(shared, 0), -1, "all are out");
    close(shared);
    is(first(outer, 0), -1, "and it is, too");
}

static void one_of_many(void) {
    struct rlimit limit;
    need(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max < 4000 ? limit.rlim_max : 4000;
    need(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int e = make(), last = -1, n = 0;
    for (int fd; n < 3000 && (fd = eventfd(0, 0)) >= 0; n++, last = fd)
        add(e, fd, EPOLLIN);
    ok(n > 500, "%d idle files", n);
    is(first(e, 0), -1, "none is ready");
    need(write(last, &(uint64_t){1}, 8) == 8);
    struct epoll_event event[8];
    is(epoll_wait(e, event, 8, -1), 1, "one is");
    is(event[0].data.u64 & 0xffffffff, last, "which one");
}

static void limit(void) {
    if (!on_spork()) {
        skip("the limit of watches is the machine's here");
        return;
    }
    char text[32] = "";
    int f = open("/proc/sys/fs/epoll/max_user_watches", O_RDWR);
    need(f >= 0 && read(f, text, sizeof text - 1) > 0);
    ok(atol(text) > 10000, "there is a limit of watches: %ld", atol(text));
    int e = make(), other = make(), p[2];
    need(pipe(p) == 0);
    need(pwrite(f, "2", 1, 0) == 1);
    add(e, p[0], EPOLLIN);
    add(other, p[0], EPOLLIN);
    is_errno(control(e, EPOLL_CTL_ADD, p[1], EPOLLOUT), ENOSPC, "in all epolls together");
    close(other);
    is(control(e, EPOLL_CTL_ADD, p[1], EPOLLOUT), 0, "what has ended does not count");
    need(pwrite(f, text, strlen(text), 0) > 0);
}

static void all_again(const void* unused) {
    (void)unused;
    void (*const those[])(void) = {levels, closed, nested, signals_of_the_dead};
    for (size_t i = 0; i < sizeof those / sizeof those[0]; i++) {
        pid_t child = fork();
        if (child == 0) {
            dup2(open("/dev/null", O_WRONLY), 1);
            those[i]();
            _exit(0);
        }
        need(waitpid(child, NULL, 0) == child);
    }
}

static void nothing_left(void) {
    if (!on_spork()) {
        skip("what the kernel holds is not told here");
        return;
    }
    is(counts_left_by(all_again, NULL), 0, "nothing is left of all this");
}

int main(void) {
    subtest("arguments", arguments);
    subtest("levels", levels);
    subtest("edges, and once", edges);
    subtest("files that are closed", closed);
    subtest("epolls in epolls", nested);
    subtest("several waiters", waiters);
    subtest("times and signals", times);
    subtest("all kinds of files", kinds);
    subtest("signals of who is gone", signals_of_the_dead);
    subtest("files end while others wait", at_once);
    subtest("one of many", one_of_many);
    subtest("the limit", limit);
    subtest("nothing is left", nothing_left);
    return done();
}

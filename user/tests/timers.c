// timer_create, timerfd and signalfd.
#include "../lib/proc.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

static int create(clockid_t clock, int notify, int signo, long value, int* id) {
    struct sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_notify = notify;
    event.sigev_signo = signo;
    event.sigev_value.sival_ptr = (void*)value;
    return (int)syscall(SYS_timer_create, clock, &event, id);
}

static int set(int id, int flags, int64_t ns, int64_t interval) {
    struct itimerspec t = {{interval / 1000000000, interval % 1000000000},
                           {ns / 1000000000, ns % 1000000000}};
    return (int)syscall(SYS_timer_settime, id, flags, &t, NULL);
}

static struct itimerspec get(int id) {
    struct itimerspec t;
    need(syscall(SYS_timer_gettime, id, &t) == 0);
    return t;
}

static sigset_t block(int signo) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    need(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    return set;
}

static void fires(void) {
    static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME};
    sigset_t set_of = block(SIGUSR1);
    for (int i = 0; i < 3; i++) {
        int id = -1;
        siginfo_t info;
        is(create(clocks[i], SIGEV_SIGNAL, SIGUSR1, 77 + i, &id), 0, "timer_create, clock %d",
           (int)clocks[i]);
        is(set(id, 0, 1000000000000, 0), 0, "in a long time");
        struct itimerspec left = get(id);
        ok(left.it_value.tv_sec > 0 && left.it_value.tv_sec < 1000 && left.it_interval.tv_nsec == 0,
           "what is left");
        int64_t start = now_ns();
        is(set(id, 0, 20000000, 0), 0, "in 20 ms");
        is(sigwaitinfo(&set_of, &info), SIGUSR1, "its signal");
        ok(now_ns() - start >= 20000000, "not too early");
        ok(info.si_code == SI_TIMER && info.si_value.sival_int == 77 + i, "with its fields");
        is(info.si_overrun, 0, "no overrun");
        left = get(id);
        ok(left.it_value.tv_sec == 0 && left.it_value.tv_nsec == 0, "once");
        is(syscall(SYS_timer_delete, id), 0, "timer_delete");
        is_errno(syscall(SYS_timer_delete, id), EINVAL, "once");
    }
}

static void absolute(void) {
    sigset_t set_of = block(SIGUSR1);
    int id;
    struct timespec t;
    need(create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 0, &id) == 0);
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t when = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec + 15000000;
    is(set(id, TIMER_ABSTIME, when, 0), 0, "at a moment");
    need(sigwaitinfo(&set_of, NULL) == SIGUSR1);
    ok(now_ns() >= when, "not before it");
    is(set(id, TIMER_ABSTIME, 1, 0), 0, "at a moment that is past");
    is(sigwaitinfo(&set_of, NULL), SIGUSR1, "at once");
}

static void overruns(void) {
    sigset_t set_of = block(SIGUSR1);
    int id;
    siginfo_t info;
    need(create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 0, &id) == 0);
    int64_t start = now_ns();
    need(set(id, 0, 2000000, 2000000) == 0);
    while (now_ns() - start < 40000000)
        breathe();
    need(sigwaitinfo(&set_of, &info) == SIGUSR1);
    ok(info.si_overrun >= 15, "a signal that nobody takes is one, and counts: %d", info.si_overrun);
    is(syscall(SYS_timer_getoverrun, id), info.si_overrun, "timer_getoverrun");
    is(sigwaitinfo(&set_of, &info), SIGUSR1, "and it goes on");
    need(set(id, 0, 0, 0) == 0);
    while (sigtimedwait(&set_of, &info, &(struct timespec){0, 0}) > 0)
        continue;
    is_errno(sigtimedwait(&set_of, &info, &(struct timespec){0, 20000000}), EAGAIN,
             "until it is stopped");
}

static void silent(void) {
    int id;
    need(create(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, &id) == 0);
    need(set(id, 0, 5000000, 0) == 0);
    ok(eventually(get(id).it_value.tv_nsec == 0), "SIGEV_NONE: it can only be looked at");
    need(set(id, 0, 5000000, 5000000) == 0);
    breathe();
    struct itimerspec left = get(id);
    ok(left.it_value.tv_nsec > 0 && left.it_value.tv_nsec <= 5000000, "a periodic one goes on");
}

static int helper_tid;
static volatile int helper_got;
static struct gate helper_ready;
static void* helper(void* arg) {
    sigset_t set_of = block(SIGUSR2);
    siginfo_t info;
    helper_tid = (int)syscall(SYS_gettid);
    gate_open(&helper_ready);
    helper_got = sigwaitinfo(&set_of, &info) == SIGUSR2 && info.si_code == SI_TIMER;
    return arg;
}

static void to_a_thread(void) {
    pthread_t thread;
    int id;
    block(SIGUSR2);
    helper_ready = gate_make();
    need(pthread_create(&thread, NULL, helper, NULL) == 0);
    gate_pass(&helper_ready);
    struct sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGUSR2;
    ((int*)&event)[4] = helper_tid;
    is(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id), 0, "SIGEV_THREAD_ID");
    need(set(id, 0, 1000000, 0) == 0);
    need(pthread_join(thread, NULL) == 0);
    ok(helper_got, "that thread gets it");
    ((int*)&event)[4] = 1;
    is_errno(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id), EINVAL,
             "a thread of another process");
}

static void* end_at_once(void* tid) {
    *(int*)tid = (int)syscall(SYS_gettid);
    gate_pass(&helper_ready);
    return NULL;
}

static void to_a_thread_that_has_ended(void) {
    pthread_t thread;
    static _Atomic int tid;
    int id;
    helper_ready = gate_make();
    need(pthread_create(&thread, NULL, end_at_once, (void*)&tid) == 0);
    need(eventually(tid != 0));
    struct sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGUSR2;
    ((int*)&event)[4] = tid;
    need(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id) == 0);
    need(set(id, 0, 1000000000, 100) == 0);
    gate_open(&helper_ready);
    need(pthread_join(thread, NULL) == 0);
    struct itimerspec left = get(id);
    ok((left.it_value.tv_sec || left.it_value.tv_nsec) && left.it_interval.tv_nsec == 100,
       "its setting is what it was");
    is(set(id, 0, 1000, 1000000), 0, "it can be set");
    breathe();
    left = get(id);
    ok(left.it_value.tv_nsec > 0 && left.it_value.tv_nsec <= 1000000, "and goes on");
    is(syscall(SYS_timer_getoverrun, id), 0, "but nobody gets a signal");
    is_errno(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id), EINVAL, "no new one for it");
    is(syscall(SYS_timer_delete, id), 0, "it can be deleted");
}

static volatile int callbacks;
static void callback(union sigval value) { callbacks += value.sival_int; }

static void library(void) {
    struct sigevent event = {.sigev_notify = SIGEV_THREAD};
    event.sigev_notify_function = callback;
    event.sigev_value.sival_int = 5;
    timer_t timer;
    is(timer_create(CLOCK_REALTIME, &event, &timer), 0, "SIGEV_THREAD, the C library's");
    struct itimerspec t = {{0, 0}, {0, 3000000}};
    need(timer_settime(timer, 0, &t, NULL) == 0);
    ok(eventually(callbacks == 5), "its function is called");
    is(timer_delete(timer), 0, "timer_delete");

    sigset_t set_of = block(SIGUSR1);
    int id;
    is(create(CLOCK_MONOTONIC, SIGEV_THREAD, SIGUSR1, 0, &id), 0, "SIGEV_THREAD, the kernel's");
    need(set(id, 0, 1000, 0) == 0);
    is(sigtimedwait(&set_of, NULL, &(struct timespec){10, 0}), SIGUSR1,
       "is a signal to the process");
    is_errno(create(CLOCK_MONOTONIC, SIGEV_THREAD, 0, 0, &id), EINVAL, "which has to be one");
    is_errno(create(CLOCK_MONOTONIC, 3, SIGUSR1, 0, &id), EINVAL, "there is no 3");
}

static void errors(void) {
    int id;
    is_errno(create(99, SIGEV_SIGNAL, SIGUSR1, 0, &id), EINVAL, "no such clock");
    is_errno(create(CLOCK_MONOTONIC, SIGEV_SIGNAL, 65, 0, &id), EINVAL, "no such signal");
    is_errno(create(CLOCK_MONOTONIC, SIGEV_SIGNAL, 0, 0, &id), EINVAL, "signal 0");
    is_errno(create(CLOCK_MONOTONIC, 9, SIGUSR1, 0, &id), EINVAL, "no such notification");
    is_errno(create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 0, (int*)8), EFAULT, "a bad address");
    is_errno(syscall(SYS_timer_create, CLOCK_MONOTONIC, 8, &id), EFAULT, "a bad event");
    is_errno(set(12345, 0, 1, 0), EINVAL, "no such timer");
    need(create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 0, &id) == 0);
    struct itimerspec wrong = {{0, 0}, {0, 1000000000}};
    is_errno(syscall(SYS_timer_settime, id, 0, &wrong, NULL), EINVAL, "a second of nanoseconds");
    is_errno(syscall(SYS_timer_settime, id, 0, NULL, NULL), EINVAL, "no time");
    is_errno(syscall(SYS_timer_gettime, id, 8), EFAULT, "nowhere to tell it");
    is_errno(syscall(SYS_timer_getoverrun, 12345), EINVAL, "the overrun of none");
}

static int inherited;
static void look_for_timer(void* unused) {
    struct itimerspec t;
    (void)unused;
    _exit(syscall(SYS_timer_gettime, inherited, &t) == -1 && errno == EINVAL ? 0 : 1);
}

static void inheritance(void) {
    need(create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 0, &inherited) == 0);
    is_exit(status_of(look_for_timer, NULL), 0, "a child has none of its parent's timers");
}

static void die_by_timer(void* unused) {
    int id;
    (void)unused;
    need(create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 0, &id) == 0);
    need(set(id, 0, 1000000, 1000000) == 0);
    for (;;)
        pause();
}

static void ignored(void) {
    is_killed(status_of(die_by_timer, NULL), SIGUSR1, "an unhandled one kills");
    int id;
    need(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
    need(create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 0, &id) == 0);
    need(set(id, 0, 1000, 1000) == 0);
    int64_t start = now_ns();
    while (now_ns() - start < 20000000)
        breathe();
    sigset_t set_of = block(SIGUSR1), pending;
    usleep(20000);
    need(sigpending(&pending) == 0);
    ok(!sigismember(&pending, SIGUSR1), "one that was ignored rests");
    need(signal(SIGUSR1, SIG_DFL) != SIG_ERR);
    siginfo_t info;
    is(sigwaitinfo(&set_of, &info), SIGUSR1, "and goes on when it no longer is");
    ok(info.si_overrun > 10000, "having counted: %d", info.si_overrun);
}

// ---- timerfd ---------------------------------------------------------------------------------

static int set_fd(int fd, int flags, int64_t ns, int64_t interval) {
    struct itimerspec t = {{interval / 1000000000, interval % 1000000000},
                           {ns / 1000000000, ns % 1000000000}};
    return timerfd_settime(fd, flags, &t, NULL);
}

static short ready(int fd, int timeout_ms) {
    struct pollfd p = {fd, POLLIN, 0};
    need(poll(&p, 1, timeout_ms) >= 0);
    return p.revents;
}

static void timer_files(void) {
    uint64_t count = 99;
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    need(fd >= 0);
    is(fcntl(fd, F_GETFD), FD_CLOEXEC, "TFD_CLOEXEC");
    is_errno(read(fd, &count, 8), EAGAIN, "TFD_NONBLOCK: it is not set");
    is(set_fd(fd, 0, 1000000000000, 0), 0, "in a long time");
    is(ready(fd, 0), 0, "not yet");
    struct itimerspec left;
    is(timerfd_gettime(fd, &left), 0, "timerfd_gettime");
    ok(left.it_value.tv_sec > 0 && left.it_value.tv_sec < 1000, "what is left");
    int64_t start = now_ns();
    is(set_fd(fd, 0, 10000000, 0), 0, "in 10 ms");
    is(ready(fd, -1), POLLIN, "poll waits for it");
    ok(now_ns() - start >= 10000000, "not too early");
    is_errno(read(fd, &count, 7), EINVAL, "a short read");
    is(read(fd, &count, 8), 8, "read");
    is(count, 1, "it has expired once");
    is_errno(read(fd, &count, 8), EAGAIN, "once");
    need(set_fd(fd, 0, 2000000, 2000000) == 0);
    start = now_ns();
    while (now_ns() - start < 21000000)
        breathe();
    need(read(fd, &count, 8) == 8);
    ok(count >= 9, "a periodic one counts: %d", (int)count);
    need(fcntl(fd, F_SETFL, 0) == 0);
    is(read(fd, &count, 8), 8, "a read that waits");
    is(set_fd(fd, TFD_TIMER_ABSTIME, 1, 0), 0, "a moment that is past");
    is(ready(fd, 0), POLLIN, "it is ready at once");
    is(set_fd(fd, 0, 0, 0), 0, "stopped");
    is(ready(fd, 10), 0, "no more");
    is_errno(write(fd, &count, 8), EINVAL, "it cannot be written");
    is_errno(timerfd_create(99, 0), EINVAL, "no such clock");
    is_errno(timerfd_create(CLOCK_MONOTONIC, 0x40), EINVAL, "no such flag");
    is_errno(set_fd(fd, 0x100, 1, 0), EINVAL, "no such flag");
    is_errno(set_fd(0, 0, 1, 0), EINVAL, "a file that is none");
    is_errno(set_fd(99, 0, 1, 0), EBADF, "no file");
    is_errno(timerfd_settime(fd, 0, (struct itimerspec*)8, NULL), EFAULT, "a bad address");
}

static int raced;
static atomic_bool race_over;
static void* race_set(void* arg) {
    while (!race_over)
        need(set_fd(raced, 0, 1, 200000) == 0);
    return arg;
}
static void* race_read(void* arg) {
    uint64_t count;
    while (!race_over)
        need(read(raced, &count, 8) == 8 || errno == EAGAIN);
    return arg;
}

static void timer_file_of_many(void) {
    pthread_t thread[6];
    raced = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    need(raced >= 0);
    for (int i = 0; i < 6; i++)
        need(pthread_create(&thread[i], NULL, i % 2 ? race_set : race_read, NULL) == 0);
    usleep(400000);
    race_over = true;
    for (int i = 0; i < 6; i++)
        need(pthread_join(thread[i], NULL) == 0);
    is(ready(raced, -1), POLLIN, "set and read by several threads at once, it goes on");
}

// ---- signalfd --------------------------------------------------------------------------------

static void* send_later(void* arg) {
    breathe();
    kill(getpid(), SIGUSR1);
    return arg;
}

static void signal_files(void) {
    sigset_t set_of = block(SIGUSR1);
    struct signalfd_siginfo info[3];
    block(SIGRTMIN);
    int fd = signalfd(-1, &set_of, SFD_NONBLOCK | SFD_CLOEXEC);
    need(fd >= 0);
    is(fcntl(fd, F_GETFD), FD_CLOEXEC, "SFD_CLOEXEC");
    is_errno(read(fd, info, sizeof info), EAGAIN, "SFD_NONBLOCK: nothing is pending");
    is(ready(fd, 0), 0, "poll says so");
    need(kill(getpid(), SIGUSR1) == 0);
    is(ready(fd, -1), POLLIN, "a signal is");
    is_errno(read(fd, info, 127), EINVAL, "a short read");
    is(read(fd, info, sizeof info), 128, "read");
    ok(info[0].ssi_signo == SIGUSR1 && info[0].ssi_pid == (uint32_t)getpid() &&
           info[0].ssi_uid == getuid() && info[0].ssi_code == SI_USER,
       "which, and from whom");
    is(ready(fd, 0), 0, "it is taken");
    sigaddset(&set_of, SIGRTMIN);
    is(signalfd(fd, &set_of, 0), fd, "another set");
    for (int i = 0; i < 2; i++)
        need(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 40 + i}) == 0);
    is(read(fd, info, sizeof info), 256, "two that were queued");
    ok(info[0].ssi_int == 40 && info[1].ssi_int == 41 && info[1].ssi_code == SI_QUEUE,
       "in order, with their values");
    need(fcntl(fd, F_SETFL, 0) == 0);
    pthread_t thread;
    need(pthread_create(&thread, NULL, send_later, NULL) == 0);
    is(read(fd, info, sizeof info), 128, "a read that waits");
    need(pthread_join(thread, NULL) == 0);
    pid_t child = fork();
    if (child == 0)
        _exit(3);
    sigemptyset(&set_of);
    sigaddset(&set_of, SIGCHLD);
    need(sigprocmask(SIG_BLOCK, &set_of, NULL) == 0);
    int children = signalfd(-1, &set_of, 0);
    pid_t second = fork();
    if (second == 0)
        _exit(4);
    is(read(children, info, sizeof info[0]), 128, "SIGCHLD"); // the other may come meanwhile
    ok((info[0].ssi_pid == (uint32_t)child && info[0].ssi_status == 3) ||
           (info[0].ssi_pid == (uint32_t)second && info[0].ssi_status == 4),
       "whose, and with what status");
    reap(child);
    reap(second);
    is_errno(signalfd(0, &set_of, 0), EINVAL, "a file that is none");
    is(lseek(fd, 7, SEEK_SET), 0, "a place that never moves");
    for (int i = 0; i < 2; i++)
        need(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 50 + i}) == 0);
    char* pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(pages != MAP_FAILED && munmap(pages + 4096, 4096) == 0);
    is(read(fd, pages + 4096 - sizeof info[0], sizeof info), 128, "room for one, and then none");
    is_errno(signalfd(99, &set_of, 0), EBADF, "no file");
    is_errno(syscall(SYS_signalfd4, -1, &set_of, 8, 0x40), EINVAL, "no such flag");
    is_errno(syscall(SYS_signalfd4, -1, &set_of, 7, 0), EINVAL, "another size");
    is_errno(syscall(SYS_signalfd4, -1, 8, 8, 0), EFAULT, "a bad address");
}

int main(void) {
    subtest("once", fires);
    subtest("absolute", absolute);
    subtest("overruns", overruns);
    subtest("SIGEV_NONE", silent);
    subtest("SIGEV_THREAD_ID", to_a_thread);
    subtest("SIGEV_THREAD_ID of one that has ended", to_a_thread_that_has_ended);
    subtest("SIGEV_THREAD", library);
    subtest("errors", errors);
    subtest("inheritance", inheritance);
    subtest("ignored", ignored);
    subtest("timerfd", timer_files);
    subtest("timerfd of several threads", timer_file_of_many);
    subtest("signalfd", signal_files);
    return done();
}

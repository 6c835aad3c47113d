// Setting CLOCK_REALTIME: what waits for a time that the clock shows, and what does not.
#include "../lib/proc.h"
#include "../lib/spork.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

enum { WAIT_BITSET_PRIVATE_REALTIME = 9 | 128 | 256 }; // futex operation

static struct timespec at(int seconds) {
    struct timespec t;
    need(clock_gettime(CLOCK_REALTIME, &t) == 0);
    t.tv_sec += seconds;
    return t;
}

static void move_clock(int seconds) {
    struct timespec t = at(seconds);
    need(clock_settime(CLOCK_REALTIME, &t) == 0);
}

static void sleep_until(void* end) {
    need(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, end, NULL) == 0);
}
static void sleep_long(void* seconds) {
    clock_nanosleep(CLOCK_REALTIME, 0, &(struct timespec){*(int*)seconds, 0}, NULL);
}
static void wait_until(void* end) {
    int word = 0;
    need(syscall(SYS_futex, &word, WAIT_BITSET_PRIVATE_REALTIME, 0, end, NULL, -1) == -1);
    need(errno == ETIMEDOUT);
}

static int timer_file(int flags, struct timespec when) {
    int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
    need(fd >= 0);
    need(timerfd_settime(fd, flags, &(struct itimerspec){{0, 0}, when}, NULL) == 0);
    return fd;
}
static bool ready(int fd) { return poll(&(struct pollfd){fd, POLLIN, 0}, 1, 0) == 1; }

static void forward(void) {
    struct timespec end = at(100);
    int seconds = 100;
    pid_t sleeper = spawn(sleep_until, &end), waiter = spawn(wait_until, &end);
    pid_t other = spawn(sleep_long, &seconds);
    int absolute = timer_file(TFD_TIMER_ABSTIME, end);
    int relative = timer_file(0, (struct timespec){100, 0});
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    need(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    need(timer_create(CLOCK_REALTIME, &event, &timer) == 0);
    struct itimerspec t = {{0, 0}, end}, left;
    need(timer_settime(timer, TIMER_ABSTIME, &t, NULL) == 0);
    need(eventually(proc_state(sleeper) == 'S' && proc_state(waiter) == 'S' &&
                    proc_state(other) == 'S'));
    move_clock(200);
    is_exit(reap(sleeper), 0, "clock_nanosleep until a time that the clock has passed ends");
    is_exit(reap(waiter), 0, "so does a wait for a futex");
    ok(eventually(ready(absolute)), "a timerfd expires");
    is(sigtimedwait(&set, NULL, &(struct timespec){20, 0}), SIGUSR1, "and a timer");
    is(proc_state(other), 'S', "a sleep for some time goes on");
    ok(!ready(relative), "as does a timerfd for some time");
    kill(other, SIGKILL);
    reap(other);

    t.it_value = at(100);
    need(timer_settime(timer, TIMER_ABSTIME, &t, NULL) == 0);
    move_clock(-50);
    need(timer_gettime(timer, &left) == 0);
    ok(left.it_value.tv_sec > 100 && left.it_value.tv_sec < 151, "set back, there is more left");
    move_clock(-150);
}

static void cancelled(void) {
    uint64_t count;
    const int flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET;
    struct itimerspec t = {{0, 0}, at(100)};
    int fd = timer_file(flags, t.it_value), other = timer_file(TFD_TIMER_ABSTIME, t.it_value);
    need(!ready(fd));
    move_clock(1);
    ok(ready(fd), "TFD_TIMER_CANCEL_ON_SET: poll tells that the clock was set");
    is_errno(read(fd, &count, 8), ECANCELED, "and so does read");
    ok(!ready(fd), "once");
    is_errno(read(fd, &count, 8), EAGAIN, "the timer goes on");
    ok(!ready(other), "one without the flag knows nothing of it");
    move_clock(-1);
    is_errno(timerfd_settime(fd, flags, &t, NULL), ECANCELED, "timerfd_settime tells it too");
    is(timerfd_settime(fd, flags, &t, NULL), 0, "once");
    move_clock(200);
    is_errno(read(fd, &count, 8), ECANCELED, "it comes before the time itself");
    is_errno(read(fd, &count, 8), EAGAIN, "which is not told then");
    ok(ready(other) && read(other, &count, 8) == 8, "the other one expires");
    move_clock(-200);
    need(close(fd) == 0 && close(other) == 0);
}

static void refused(void) {
    is_errno(clock_settime(CLOCK_REALTIME, &(struct timespec){0, 1}), EINVAL,
             "less than the time since boot");
    is_errno(clock_settime(CLOCK_MONOTONIC, &(struct timespec){1000, 0}), EINVAL,
             "a clock that cannot be set");
}

int main(void) {
    if (!on_spork()) {
        skip("the wall clock of this machine is not for tests to set");
        return done();
    }
    subtest("what waits for a time", forward);
    subtest("TFD_TIMER_CANCEL_ON_SET", cancelled);
    subtest("refused", refused);
    return done();
}

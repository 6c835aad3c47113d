// alarm and setitimer, and calls that a signal or a stop interrupts in their time.
#include "../lib/proc.h"

#include <limits.h>
#include <sys/time.h>
#include <time.h>

static volatile sig_atomic_t count;

static void counting(int signo) {
    (void)signo;
    count++;
}

static void handle(int flags) {
    struct sigaction action = {.sa_handler = counting, .sa_flags = flags};
    need(sigaction(SIGALRM, &action, NULL) == 0);
    count = 0;
}

static struct itimerval every(long usec, long interval) {
    return (struct itimerval){.it_value = {usec / 1000000, usec % 1000000},
                              .it_interval = {interval / 1000000, interval % 1000000}};
}

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void once(void) {
    handle(0);
    struct itimerval value = every(20000, 0), old;
    int64_t start = now_ms();
    need(setitimer(ITIMER_REAL, &value, NULL) == 0);
    is_errno(pause(), EINTR, "the timer interrupts pause");
    is(count, 1, "with SIGALRM");
    ok(now_ms() - start >= 19, "not before its time");
    need(getitimer(ITIMER_REAL, &old) == 0);
    ok(!timerisset(&old.it_value) && !timerisset(&old.it_interval), "then it is off");
}

static void repeated(void) {
    handle(0);
    struct itimerval value = every(5000, 5000), off = every(0, 0), old;
    need(setitimer(ITIMER_REAL, &value, NULL) == 0);
    while (count < 5)
        pause();
    need(getitimer(ITIMER_REAL, &old) == 0);
    is(old.it_interval.tv_usec, 5000, "getitimer tells the interval");
    need(setitimer(ITIMER_REAL, &off, &old) == 0);
    ok(old.it_interval.tv_usec == 5000 && old.it_value.tv_usec <= 5000,
       "and setitimer the old value");
    int seen = count;
    struct timespec wait = {0, 30000000};
    nanosleep(&wait, NULL);
    is(count, seen, "turned off, it does not fire");
}

// An interval that ends after the end of time.
static void longest_interval(void) {
    handle(SA_RESTART);
    struct itimerval far = every(1000, 0), off = every(0, 0);
    far.it_interval.tv_sec = LONG_MAX;
    need(setitimer(ITIMER_REAL, &far, NULL) == 0);
    while (count == 0)
        getppid();
    struct timespec wait = {0, 20000000};
    nanosleep(&wait, NULL);
    is(count, 1, "a timer with the longest interval fires once");
    need(setitimer(ITIMER_REAL, &off, NULL) == 0);
}

static void nap(long usec) { nanosleep(&(struct timespec){0, usec * 1000}, NULL); }

// However short its period, a timer has one signal under way.
static void waits_for_its_signal(void) {
    sigset_t set;
    struct itimerval value = every(1000, 1000), left;
    handle(SA_RESTART);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    need(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    need(setitimer(ITIMER_REAL, &value, NULL) == 0);
    nap(20000);
    need(getitimer(ITIMER_REAL, &left) == 0);
    ok(!timerisset(&left.it_value) && left.it_interval.tv_usec == 1000,
       "while its signal is pending, it is not set");
    need(sigwaitinfo(&set, NULL) == SIGALRM);
    need(getitimer(ITIMER_REAL, &left) == 0);
    ok(timerisset(&left.it_value) || sigwaitinfo(&set, NULL) == SIGALRM, "then it is again");

    need(signal(SIGALRM, SIG_IGN) != SIG_ERR); // drops what is pending
    need(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
    need(setitimer(ITIMER_REAL, &value, NULL) == 0);
    nap(20000);
    need(getitimer(ITIMER_REAL, &left) == 0);
    ok(!timerisset(&left.it_value), "nor is it after a signal that was ignored");
    handle(SA_RESTART);
    nap(20000);
    is(count, 0, "so that a handler gets none");
    need(kill(getpid(), SIGALRM) == 0);
    ok(eventually(count > 2), "until somebody else sends one");
    need(setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL) == 0);
}

static void alarms(void) {
    is(alarm(0), 0, "no alarm is set");
    is(alarm(100), 0, "still none was");
    is(alarm(0), 100, "alarm tells what was left");
    alarm(50);
    pid_t child = fork();
    need(child >= 0);
    if (child == 0)
        _exit((int)alarm(0));
    is_exit(reap(child), 0, "a fork's child has none");
    is(alarm(0), 50, "its parent still has");
    struct itimerval wrong = every(0, 0);
    wrong.it_value.tv_usec = 1000000;
    is_errno(setitimer(ITIMER_REAL, &wrong, NULL), EINVAL, "a million microseconds");
    is_errno(setitimer(77, &wrong, NULL), EINVAL, "a timer that is none");
}

static void killed(void* unused) {
    (void)unused;
    signal(SIGALRM, SIG_DFL);
    struct itimerval value = every(10000, 0);
    need(setitimer(ITIMER_REAL, &value, NULL) == 0);
    for (;;)
        continue;
}

static void unhandled(void) {
    is_killed(status_of(killed, NULL), SIGALRM, "a busy process is killed by its alarm");
}

static void sleeps(void) {
    handle(SA_RESTART);
    struct itimerval value = every(20000, 0);
    struct timespec wanted = {5, 0}, left = {0, 0};
    need(setitimer(ITIMER_REAL, &value, NULL) == 0);
    is_errno(nanosleep(&wanted, &left), EINTR, "nanosleep does not begin again after a handler");
    ok(left.tv_sec == 4 && left.tv_nsec > 0, "and tells what is left");
}

static void sleeper(void* unused) {
    (void)unused;
    int64_t start = now_ms();
    struct timespec wanted = {0, 150000000};
    need(nanosleep(&wanted, NULL) == 0);
    int64_t took = now_ms() - start;
    _exit(took >= 149 ? 50 : (int)took);
}

static void stopped_sleep(void) {
    int status;
    pid_t child = spawn(sleeper, NULL);
    need(eventually(proc_state(child) == 'S'));
    need(kill(child, SIGSTOP) == 0);
    need(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    is(proc_state(child), 'T', "a sleeping process is stopped");
    need(kill(child, SIGCONT) == 0);
    need(waitpid(child, &status, WCONTINUED) == child);
    ok(WIFCONTINUED(status), "and continued");
    is_exit(reap(child), 50, "its sleep goes on for the rest of its time");
}

int main(void) {
    subtest("once", once);
    subtest("repeated", repeated);
    subtest("the longest interval", longest_interval);
    subtest("waits for its signal", waits_for_its_signal);
    subtest("alarm", alarms);
    subtest("default action", unhandled);
    subtest("an interrupted sleep", sleeps);
    subtest("a stopped sleep", stopped_sleep);
    return done();
}

// Clocks and sleeping: clocks go forward, sleeps are not too short.
#include "../lib/proc.h"

#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>

static int64_t clock_ns(clockid_t clock) {
    struct timespec t;
    need(clock_gettime(clock, &t) == 0);
    need(t.tv_nsec >= 0 && t.tv_nsec < 1000000000);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void clocks(void) {
    int backwards = 0;
    int64_t last = clock_ns(CLOCK_MONOTONIC), first = last;
    for (int i = 0; i < 20000; i++) {
        int64_t now = clock_ns(CLOCK_MONOTONIC);
        backwards += now < last;
        last = now;
    }
    is(backwards, 0, "the monotonic clock never goes back");
    ok(last > first, "and goes forward");
    ok(clock_ns(CLOCK_REALTIME) > 1500000000ll * 1000000000, "the wall clock is in this century");
    ok(clock_ns(CLOCK_BOOTTIME) > 0, "the time since boot");
    struct timespec t;
    is_errno(clock_gettime(12345, &t), EINVAL, "a clock that is none");
    need(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t) == 0);
    ok((int64_t)t.tv_sec * 1000000000 + t.tv_nsec >= last, "the call itself agrees");

    struct timeval day;
    int64_t before = clock_ns(CLOCK_REALTIME);
    need(syscall(SYS_gettimeofday, &day, NULL) == 0);
    int64_t then = ((int64_t)day.tv_sec * 1000000 + day.tv_usec) * 1000;
    ok(then >= before - 1000 && then <= clock_ns(CLOCK_REALTIME), "gettimeofday agrees");
    ok(time(NULL) >= before / 1000000000 - 1, "and time");
}

// Each processor sees no earlier time than the one before it did.
static void between_processes(void) {
    enum { LEAST = 5, ROUNDS = 200 };
    struct gate there = gate_make();
    int64_t stamp;
    int times_pipe[2], backwards = 0;
    need(pipe(times_pipe) == 0);
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        char byte;
        close(there.fd[1]);
        while (read(there.fd[0], &byte, 1) == 1) {
            stamp = clock_ns(CLOCK_MONOTONIC);
            need(write(times_pipe[1], &stamp, sizeof stamp) == sizeof stamp);
        }
        _exit(0);
    }
    // On a busy machine each of the two waits for its turn: then fewer rounds have to do.
    const int64_t end = now_ns() + 2000000000;
    for (int i = 0; i < ROUNDS && (i < LEAST || now_ns() < end); i++) {
        int64_t before = clock_ns(CLOCK_MONOTONIC);
        gate_open(&there);
        need(read(times_pipe[0], &stamp, sizeof stamp) == sizeof stamp);
        backwards += stamp < before || clock_ns(CLOCK_MONOTONIC) < stamp;
    }
    close(there.fd[1]);
    is(backwards, 0, "time passed between processes goes forward");
    is_exit(reap(child), 0, "the other process agrees");
}

static void sleeping(void) {
    for (int ms = 0; ms <= 30; ms += 10) {
        int64_t start = clock_ns(CLOCK_MONOTONIC);
        is(nanosleep(&(struct timespec){0, ms * 1000000}, NULL), 0, "nanosleep of %d ms", ms);
        ok(clock_ns(CLOCK_MONOTONIC) - start >= ms * 1000000ll, "is not shorter");
    }
    is_errno(nanosleep(&(struct timespec){0, 1000000000}, NULL), EINVAL, "too many nanoseconds");
    is_errno(nanosleep(&(struct timespec){-1, 0}, NULL), EINVAL, "less than no time");
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += 20000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    is(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL), 0, "to a point in time");
    ok(clock_ns(CLOCK_MONOTONIC) >= (int64_t)until.tv_sec * 1000000000 + until.tv_nsec,
       "which has come");
    int64_t start = clock_ns(CLOCK_MONOTONIC);
    is(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &(struct timespec){0, 1}, NULL), 0,
       "to one long past");
    ok(clock_ns(CLOCK_MONOTONIC) - start < 30000000000, "does not sleep");
    is(clock_nanosleep(54321, 0, &until, NULL), EINVAL, "by a clock that is none");
}

static void nothing(int signo) { (void)signo; }

static void interrupted(void) {
    struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_RESTART};
    need(sigaction(SIGUSR1, &action, NULL) == 0);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        need(eventually(proc_state(parent) == 'S'));
        kill(parent, SIGUSR1);
        _exit(0);
    }
    struct timespec rest = {-1, -1};
    is_errno(nanosleep(&(struct timespec){1000, 0}, &rest), EINTR, "a signal ends a sleep");
    // Linux counts from where its timer fires at the latest: with the slack (50 us), which is more
    // than was asked for if the signal comes sooner than that.
    int64_t left = rest.tv_sec * 1000000000LL + rest.tv_nsec;
    ok(left < 1000001000000 && left > 800000000000, "and tells how much is left");
    need(exited_with(reap(child), 0));

    // Stopped and continued, a sleep goes on to its end. On a busy machine it may be over before
    // the stop has come: then a longer one is tried.
    int status, ms = 100;
    do {
        ms *= 2;
        child = fork();
        if (child == 0) {
            const int64_t start = now_ns();
            if (nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL) != 0)
                _exit(1);
            _exit(now_ns() - start >= ms * 1000000ll ? 0 : 2);
        }
        need(eventually(strchr("SZ", proc_state(child))));
        need(kill(child, SIGSTOP) == 0 && waitpid(child, &status, WUNTRACED) == child);
    } while (exited_with(status, 0) && ms < 30000);
    need(WIFSTOPPED(status) && kill(child, SIGCONT) == 0);
    is_exit(reap(child), 0, "a sleep that is stopped and continued is whole");
}

static void used_time(void) {
    struct tms before, after;
    clock_t start = times(&before);
    need(start != (clock_t)-1);
    do { // until it shows: hundredths of a second
        for (volatile int i = 0; i < 100000; i++)
            continue;
        times(&after);
    } while (after.tms_utime + after.tms_stime < before.tms_utime + before.tms_stime + 5);
    ok(after.tms_utime > before.tms_utime, "work counts as user time");
    ok(times(NULL) >= start + 4, "while real time passes");
    is(before.tms_cutime, 0, "no child has used any");
}

int main(void) {
    subtest("clocks", clocks);
    subtest("clocks in two processes", between_processes);
    subtest("sleeping", sleeping);
    subtest("interrupted sleep", interrupted);
    subtest("time used", used_time);
    return done();
}

// tap.h: how a test program says what it found, in the Test Anything Protocol.
//
//     #include "../lib/tap.h"
//
//     static void two_and_two(void)
//     {
//         is(2 + 2, 4, "two and two");
//         is_errno(close(-1), EBADF, "closing nothing");
//     }
//
//     int main(void)
//     {
//         subtest("arithmetic", two_and_two);
//         return done();
//     }
//
// A check prints one line, `ok N - what` or `not ok N - what`, and a failed one says in which file
// and line it stands, what it got and what it wanted; with TAP_STOP=1 in the environment the process
// stops (SIGSTOP) there. A subtest runs in a child process and process group of its own, so that a
// crash, a hang or a stray child costs that subtest alone. done() prints the plan and gives main its
// exit status: 0 only when every check passed.
//
// Lines go out by write(2), one call each, and no buffer of stdio is involved: nothing is printed
// twice after a fork. Checks count in the process that makes them: a child that a test forks uses
// need() and its exit status instead, and its parent checks that (proc.h).
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TAP_UNUSED __attribute__((unused))
#define TAP_PRINTF(string, first) __attribute__((unused, format(printf, string, first)))

// How long a subtest may take before it is killed, by the monotonic clock. Far more than any
// needs on a slow machine: it only ends a hang.
enum { TAP_SUBTEST_SECONDS = 60 };

static struct {
    int count;          // checks made so far
    int failures;       // how many of them failed
    int planned;        // what plan() announced, or 0
    const char* indent; // before each line: four blanks within a subtest
} tap = {0, 0, 0, ""};

// Writes one line.
TAP_PRINTF(1, 0) static void tap_vline(const char* format, va_list args) {
    char line[1024];
    const size_t room = sizeof line - 2;
    size_t used = (size_t)snprintf(line, room, "%s", tap.indent);
    int more = vsnprintf(line + used, room - used, format, args);
    used = (size_t)more < room - used ? used + (size_t)more : room - 1;
    line[used++] = '\n';
    for (size_t sent = 0; sent < used;) {
        ssize_t n = write(STDOUT_FILENO, line + sent, used - sent);
        if (n < 0 && errno != EINTR)
            _exit(120); // nobody is listening
        sent += n > 0 ? (size_t)n : 0;
    }
}

TAP_PRINTF(1, 2) static void tap_line(const char* format, ...) {
    va_list args;
    va_start(args, format);
    tap_vline(format, args);
    va_end(args);
}

// A remark for the reader; not a result.
#define diag(...) tap_line("# " __VA_ARGS__)

// A check has failed. With TAP_STOP in the environment the process stops there, for who wants to see
// it as it is: a debugger, or a core file of the machine.
__attribute__((noinline, unused)) static void tap_stop(void) {
    if (getenv("TAP_STOP")) {
        diag("  stopped (TAP_STOP)");
        raise(SIGSTOP);
    }
}
#define tap_explain(...) (diag(__VA_ARGS__), tap_stop())

TAP_PRINTF(4, 5)
static bool tap_result(bool pass, const char* file, int line, const char* format, ...) {
    int saved = errno;
    char what[512];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    tap.count++;
    tap_line("%sok %d - %s", pass ? "" : "not ", tap.count, what);
    if (!pass) {
        tap.failures++;
        diag("  failed at %s:%d", file, line);
    }
    errno = saved;
    return pass;
}

// Each check yields whether it passed. The words after it are a printf format and arguments.

// `cond` holds.
#define ok(cond, ...)                                                                              \
    ({                                                                                             \
        bool tap_pass_ = tap_result(!!(cond), __FILE__, __LINE__, __VA_ARGS__);                    \
        if (!tap_pass_)                                                                            \
            tap_explain("  not so: %s", #cond);                                                    \
        tap_pass_;                                                                                 \
    })

// Two integers or pointers are equal.
#define is(got, want, ...)                                                                         \
    ({                                                                                             \
        long tap_got_ = (long)(got), tap_want_ = (long)(want);                                     \
        bool tap_pass_ = tap_result(tap_got_ == tap_want_, __FILE__, __LINE__, __VA_ARGS__);       \
        if (!tap_pass_)                                                                            \
            tap_explain("  %s: got %ld (0x%lx), want %ld (0x%lx)", #got, tap_got_, tap_got_,       \
                        tap_want_, tap_want_);                                                     \
        tap_pass_;                                                                                 \
    })

// Two strings are equal.
#define is_str(got, want, ...)                                                                     \
    ({                                                                                             \
        const char *tap_got_ = (got), *tap_want_ = (want);                                         \
        bool tap_pass_ =                                                                           \
            tap_result(strcmp(tap_got_, tap_want_) == 0, __FILE__, __LINE__, __VA_ARGS__);         \
        if (!tap_pass_)                                                                            \
            tap_explain("  %s: got \"%s\", want \"%s\"", #got, tap_got_, tap_want_);               \
        tap_pass_;                                                                                 \
    })

// A call fails (returns -1, or MAP_FAILED) with errno `want`.
#define is_errno(call, want, ...)                                                                  \
    ({                                                                                             \
        errno = 0;                                                                                 \
        long tap_got_ = (long)(call);                                                              \
        int tap_errno_ = errno, tap_want_ = (want);                                                \
        bool tap_pass_ = tap_result(tap_got_ == -1 && tap_errno_ == tap_want_, __FILE__, __LINE__, \
                                    __VA_ARGS__);                                                  \
        if (!tap_pass_)                                                                            \
            tap_explain("  %s: got %ld with errno %d (%s), want -1 with %d (%s)", #call, tap_got_, \
                        tap_errno_, strerror(tap_errno_), tap_want_, strerror(tap_want_));         \
        tap_pass_;                                                                                 \
    })

// A call succeeds: does not return -1.
#define succeeds(call, ...)                                                                        \
    ({                                                                                             \
        errno = 0;                                                                                 \
        long tap_got_ = (long)(call);                                                              \
        int tap_errno_ = errno;                                                                    \
        bool tap_pass_ = tap_result(tap_got_ != -1, __FILE__, __LINE__, __VA_ARGS__);              \
        if (!tap_pass_)                                                                            \
            tap_explain("  %s: errno %d (%s)", #call, tap_errno_, strerror(tap_errno_));           \
        tap_pass_;                                                                                 \
    })

// What the test cannot go on without. Ends the process, parent or child, when it does not hold.
#define need(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            int tap_errno_ = errno;                                                                \
            diag("  %s:%d: needed: %s (errno %d, %s)", __FILE__, __LINE__, #cond, tap_errno_,      \
                 strerror(tap_errno_));                                                            \
            tap_stop();                                                                            \
            _exit(99);                                                                             \
        }                                                                                          \
    } while (0)

// Leaves out one check, and says why.
TAP_PRINTF(1, 2) static void skip(const char* format, ...) {
    char why[256];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    tap_line("ok %d # SKIP %s", ++tap.count, why);
}

// Nanoseconds of the monotonic clock.
TAP_UNUSED static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// Lets others run for about a millisecond. Only for loops that wait for a state.
TAP_UNUSED static void breathe(void) { nanosleep(&(struct timespec){0, 1000000}, NULL); }

// Waits until `cond` holds; false when it still does not after the time that ends a hang.
#define eventually(cond)                                                                           \
    ({                                                                                             \
        int64_t tap_end_ = now_ns() + (int64_t)TAP_SUBTEST_SECONDS * 500000000;                    \
        bool tap_holds_;                                                                           \
        while (!(tap_holds_ = !!(cond)) && now_ns() < tap_end_)                                    \
            breathe();                                                                             \
        tap_holds_;                                                                                \
    })

// Announces `n` checks. Without it done() prints the plan.
TAP_UNUSED static void plan(int n) {
    tap.planned = n;
    tap_line("1..%d", n);
}

// Ends the report. What main (or a subtest's process) has to return.
TAP_UNUSED static int done(void) {
    if (tap.planned == 0)
        tap_line("1..%d", tap.count);
    else if (tap.planned != tap.count) {
        diag("planned %d checks and made %d", tap.planned, tap.count);
        return 1;
    }
    if (tap.failures != 0)
        diag("%d of %d checks failed", tap.failures, tap.count);
    return tap.failures == 0 ? 0 : 1;
}

// Runs `body` in a child process and group, as one check. Whatever is left of the group when the
// child has ended is killed.
#define subtest(name, body) tap_subtest(__FILE__, __LINE__, name, body)

TAP_UNUSED static void tap_subtest(const char* file, int line, const char* name,
                                   void (*body)(void)) {
    tap_line("# Subtest: %s", name);
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        need(setpgid(0, 0) == 0);
        signal(SIGINT, SIG_DFL); // a shell's background job begins with these two ignored
        signal(SIGQUIT, SIG_DFL);
        tap.count = tap.failures = tap.planned = 0;
        tap.indent = "    ";
        body();
        exit(done());
    }
    setpgid(child, child); // whichever of the two comes first; the other one changes nothing
    int status = 0;
    pid_t ended = 0;
    int64_t end = now_ns() + (int64_t)TAP_SUBTEST_SECONDS * 1000000000;
    while ((ended = waitpid(child, &status, WNOHANG)) == 0 && now_ns() < end)
        breathe();
    kill(-child, SIGKILL);
    if (ended == 0)
        waitpid(child, NULL, 0);
    bool pass = ended == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    tap_result(pass, file, line, "%s", name);
    if (ended == 0)
        diag("  %s: still running after %d s", name, TAP_SUBTEST_SECONDS);
    else if (WIFSIGNALED(status))
        diag("  %s: killed by signal %d (%s)", name, WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (!pass)
        diag("  %s: exit status %d", name, WEXITSTATUS(status));
    if (!pass)
        tap_stop();
}

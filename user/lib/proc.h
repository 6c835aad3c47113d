// proc.h: child processes for tests: start one, learn how it ended, take turns with it.
#pragma once
#include "tap.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sys/random.h>

// Waits for child `pid` and returns its wait status.
TAP_UNUSED static int reap(pid_t pid) {
    int status = 0;
    pid_t ended;
    while ((ended = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
        continue;
    need(ended == pid);
    return status;
}

// Forks a child that runs body(arg) and exits with 0 if that returns.
TAP_UNUSED static pid_t spawn(void (*body)(void*), void* arg) {
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        body(arg);
        _exit(0);
    }
    return child;
}

// The wait status of a child that runs body(arg).
TAP_UNUSED static int status_of(void (*body)(void*), void* arg) { return reap(spawn(body, arg)); }

// A wait status says: exited with `code`; killed by `signal`.
TAP_UNUSED static bool exited_with(int status, int code) {
    return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

TAP_UNUSED static bool killed_by(int status, int signo) {
    return WIFSIGNALED(status) && WTERMSIG(status) == signo;
}

#define is_exit(status, code, ...)                                                                 \
    ({                                                                                             \
        int proc_status_ = (status);                                                               \
        bool proc_pass_ =                                                                          \
            tap_result(exited_with(proc_status_, code), __FILE__, __LINE__, __VA_ARGS__);          \
        if (!proc_pass_)                                                                           \
            tap_explain("  wait status 0x%x, want exit with %d", proc_status_, (code));            \
        proc_pass_;                                                                                \
    })

#define is_killed(status, signal, ...)                                                             \
    ({                                                                                             \
        int proc_status_ = (status);                                                               \
        bool proc_pass_ =                                                                          \
            tap_result(killed_by(proc_status_, signal), __FILE__, __LINE__, __VA_ARGS__);          \
        if (!proc_pass_)                                                                           \
            tap_explain("  wait status 0x%x, want killed by %d (%s)", proc_status_, (signal),      \
                        strsignal(signal));                                                        \
        proc_pass_;                                                                                \
    })

// A gate holds one process until another one opens it: a pipe with a byte in it, or none.
struct gate {
    int fd[2]; // [0] is waited on, [1] opens
};

TAP_UNUSED static struct gate gate_make(void) {
    struct gate g;
    need(pipe(g.fd) == 0);
    return g;
}

TAP_UNUSED static void gate_open(const struct gate* g) { need(write(g->fd[1], "", 1) == 1); }

// Sleeps until the gate is opened, and closes it again behind itself.
TAP_UNUSED static void gate_pass(const struct gate* g) {
    char byte;
    ssize_t n;
    while ((n = read(g->fd[0], &byte, 1)) < 0 && errno == EINTR)
        continue;
    need(n == 1);
}

// The state letter of process `pid` (R, S, T, Z, ...) from /proc/PID/stat, or 0 if there is none.
TAP_UNUSED static char proc_state(pid_t pid) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = 0;
    const char* end = strrchr(text, ')'); // the name before it may hold anything
    return end != NULL && end[1] == ' ' ? end[2] : 0;
}

// From root to user and group `id` for good, and out of the further groups that root may have: after
// a login its own group is one of them.
TAP_UNUSED static void become(uid_t id) {
    need(setgroups(0, NULL) == 0);
    need(setresgid(id, id, id) == 0 && setresuid(id, id, id) == 0);
}

// Runs as an ordinary user from here on, so that permissions count.
TAP_UNUSED static void drop_root(void) {
    if (geteuid() == 0)
        become(65534);
}

// A user to become: what a user has of some things is counted over all of his processes, and those of
// another run of the same test on this machine are not to be among them.
TAP_UNUSED static uid_t some_user(void) {
    uint16_t random;
    need(getrandom(&random, sizeof random, 0) == sizeof random);
    return 20000 + random % 40000;
}

// Where this program's own file is. `argv0` as main got it; call before any chdir.
TAP_UNUSED static const char* self_path(const char* argv0) {
    static char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0)
        n = snprintf(path, sizeof path, "%s", argv0);
    path[n] = 0;
    return path;
}

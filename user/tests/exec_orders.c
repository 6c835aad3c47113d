// spork-only
// An ordinary user looks into a program of his while it becomes a set-uid one, at each step of its
// exec: sync points hold it there.
#include "../lib/scratch.h"
#include "../lib/sync_points.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum { ANN = 54321 };

static const char secret[] = "the old program's";

static void copy_self(const char* to, mode_t mode) {
    int in = open("/proc/self/exe", O_RDONLY), out = open(to, O_CREAT | O_WRONLY | O_EXCL, 0700);
    char block[16384];
    need(in >= 0 && out >= 0);
    for (ssize_t n; (n = read(in, block, sizeof block)) > 0;)
        need(write(out, block, (size_t)n) == n);
    need(fchmod(out, mode) == 0);
    need(close(in) == 0 && close(out) == 0);
}

static pid_t start(const char* program) {
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        need(setresgid(ANN, ANN, ANN) == 0 && setresuid(ANN, ANN, ANN) == 0);
        need(prctl(PR_SET_DUMPABLE, 1) == 0);
        execl(program, program, "end", NULL);
        _exit(99);
    }
    return child;
}

static void wait_at(pid_t pid, const char* point) {
    while (!is_at(pid, point))
        sched_yield();
}

// What an attempt to look into `pid` gives: 0 or an errno.
static int attempt(pid_t pid, int which) {
    char byte[4096] = "";
    struct iovec here = {byte, 1}, there = {(void*)secret, 1};
    char path[64];
    static const char* const files[] = {"maps", "environ", "smaps", "vmspace", "vmspace.json"};
    switch (which) {
    case 0: return process_vm_readv(pid, &here, 1, &there, 1, 0) == 1 ? 0 : errno;
    case 1: {
        size_t size;
        void* head;
        return syscall(SYS_get_robust_list, pid, &head, &size) == 0 ? 0 : errno;
    }
    default: {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, files[which - 2]);
        int fd = open(path, O_RDONLY);
        ssize_t n = fd < 0 ? -1 : read(fd, byte, sizeof byte);
        int error = errno;
        close(fd);
        return n < 0 ? error : n == 0 ? ESRCH : 0;
    }
    }
}
enum { ATTEMPTS = 7 };

// How many of the attempts of a user ANN at `pid` succeed.
static void attempts(void* pid) {
    need(setresgid(ANN, ANN, ANN) == 0 && setresuid(ANN, ANN, ANN) == 0);
    int succeeded = 0;
    for (int i = 0; i < ATTEMPTS; i++)
        succeeded += attempt(*(pid_t*)pid, i) == 0;
    _exit(succeeded);
}

static void at_each_step(const char* program, int before, int between, int after) {
    hold("exec_commits");
    pid_t pid = start(program);
    wait_at(pid, "exec_commits");
    is_exit(status_of(attempts, &pid), before, "%s: before the point of no return", program);
    hold("exec_has_left");
    let_go("exec_commits");
    wait_at(pid, "exec_has_left");
    is_exit(status_of(attempts, &pid), between, "%s: between the two programs", program);
    hold("exec_enters");
    let_go("exec_has_left");
    wait_at(pid, "exec_enters");
    is_exit(status_of(attempts, &pid), after, "%s: when the new one is there", program);
    let_go("exec_enters");
    is_exit(reap(pid), 0, "%s: it runs to its end", program);
}

static void set_uid(void) { at_each_step("./setuid", ATTEMPTS, 0, 0); }
static void unreadable(void) { at_each_step("./unreadable", ATTEMPTS, 0, 0); }
// All but the contents of the memory, in which nothing is yet: process_vm_readv, maps, environ,
// smaps.
static void plain(void) { at_each_step("./plain", ATTEMPTS, 0, ATTEMPTS - 4); }

// Memory that was lawfully opened is the old program's, not the next one's.
static void memory_that_is_held(void) {
    struct gate go = gate_make();
    char path[64], text[4096];
    pid_t pid = fork();
    need(pid >= 0);
    if (pid == 0) {
        gate_pass(&go);
        execl("./setuid", "./setuid", "end", NULL);
        _exit(99);
    }
    snprintf(path, sizeof path, "/proc/%d/environ", pid);
    int fd = open(path, O_RDONLY);
    need(fd >= 0 && pread(fd, text, sizeof text, 0) > 0);
    hold("exec_enters");
    gate_open(&go);
    wait_at(pid, "exec_enters");
    is(pread(fd, text, sizeof text, 0), 0, "the old environment has gone, and no other is there");
    let_go("exec_enters");
    is_exit(reap(pid), 0, "the program ends");
}

int main(int argc, char** argv) {
    (void)argv;
    if (argc == 2)
        return 0;
    if (!control('-', "exec_enters")) {
        skip("a kernel without sync points: built with DEBUG_CHECKS=0");
        return done();
    }
    scratch_begin();
    copy_self("setuid", 04755);
    copy_self("plain", 0755);
    copy_self("unreadable", 0711);
    subtest("a set-uid program", set_uid);
    subtest("a program that cannot be read", unreadable);
    subtest("an ordinary program", plain);
    subtest("what was opened before", memory_that_is_held);
    return done();
}

// spork-only
// An ordinary user looks into a program of his while it becomes a set-uid one, at each step of its
// exec: sync points hold it there.
#include "../lib/scratch.h"
#include "../lib/sync_points.h"

#include <sched.h>
#include <sys/mman.h>
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
        become(ANN);
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
    become(ANN);
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

// ---- A program that becomes another between the question and the answer ------------------------

enum { OWN_FD = 60 };
static struct gate started, go, finish;

// Has its own file open, and becomes `next` as an ordinary user when it is told to.
static int stage(char** argv) {
    struct gate started_ = {{-1, atoi(argv[1])}}, go_ = {{atoi(argv[2]), -1}};
    const char* next = argv[4];
    int own = open("/proc/self/exe", O_RDONLY);
    need(own >= 0 && dup3(own, OWN_FD, O_CLOEXEC) == OWN_FD && close(own) == 0);
    gate_open(&started_);
    gate_pass(&go_);
    if (*next == 0)
        return 0;
    need(setresuid(ANN, ANN, ANN) == 0);
    execl(next, next, argv[1], argv[3], argv[3], "", NULL);
    return 99;
}

static pid_t start_stages(const char* first, const char* next) {
    started = gate_make();
    go = gate_make();
    finish = gate_make();
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        char fd[3][16];
        const int fds[] = {started.fd[1], go.fd[0], finish.fd[0]};
        for (int i = 0; i < 3; i++)
            snprintf(fd[i], sizeof fd[i], "%d", fds[i]);
        become(ANN);
        execl(first, first, fd[0], fd[1], fd[2], next, NULL);
        _exit(99);
    }
    gate_pass(&started);
    return child;
}

static struct seen {
    volatile bool done;
    char text[512];
}* seen;

static void look(pid_t pid, const char* name, bool is_link) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = is_link ? -1 : open(path, O_RDONLY);
    ssize_t n = is_link ? readlink(path, seen->text, sizeof seen->text - 1)
                        : read(fd, seen->text, sizeof seen->text - 1);
    seen->text[n > 0 ? n : 0] = 0;
}

// Where the stack began, by a line of /proc/PID/stat.
static unsigned long stack_in(const char* line) {
    const char* at = strrchr(line, ')');
    for (int field = 2; at != NULL && field < 28; field++)
        at = strchr(at + 1, ' ');
    return at != NULL ? strtoul(at, NULL, 10) : 0;
}

// A user ANN looks at `name` of a process that runs `first`, and is held when he comes to `point`
// for the n-th time, until it runs `next`. False if he did not come there so often.
static bool look_held(const char* point, int n, const char* first, const char* next,
                      const char* name, bool is_link) {
    char held_at[64];
    struct gate begin = gate_make();
    pid_t pid = start_stages(first, next);
    seen->done = false;
    pid_t looker = fork();
    need(looker >= 0);
    if (looker == 0) {
        become(ANN);
        gate_pass(&begin);
        look(pid, name, is_link);
        seen->done = true;
        _exit(0);
    }
    snprintf(held_at, sizeof held_at, "%s %d %d", point, looker, n);
    hold(held_at);
    gate_open(&begin);
    bool held = false;
    while (!seen->done && !(held = is_at(looker, point)))
        sched_yield();
    gate_open(&go);
    gate_pass(&started);
    let_go(point);
    need(exited_with(reap(looker), 0));
    if (!is_link && stack_in(seen->text) != 0) {
        const unsigned long told = stack_in(seen->text);
        look(pid, name, false); // by root
        if (told == stack_in(seen->text))
            seen->text[0] = 0;
    }
    gate_open(&finish);
    need(exited_with(reap(pid), 0));
    syscall(SYS_close_range, begin.fd[0], ~0U, 0);
    return held;
}

// Counts those that saw what they were not to see, in every place where they could be held.
static int look_from_everywhere(const char* first, const char* next, const char* name,
                                bool is_link) {
    static const char* const points[] = {"object_found", "lock"};
    int found = 0, held = 0;
    for (int i = 0; i < 2; i++)
        for (int n = 1; look_held(points[i], n, first, next, name, is_link); n++, held++)
            found += is_link ? strstr(seen->text, "setuid") != NULL : stack_in(seen->text) != 0;
    ok(held > 8, "%s: held in %d places", name, held);
    return found;
}

static void links_of_the_next(void) {
    is(look_from_everywhere("./plain", "./setuid", "exe", true), 0,
       "exe: never that of a set-uid program that came meanwhile");
    is(look_from_everywhere("./plain", "./setuid", "fd/60", true), 0, "nor its descriptor");
}

static void places_of_the_last(void) {
    is(look_from_everywhere("./setuid", "./plain", "stat", false), 0,
       "stat: never where a set-uid program lay that has become an ordinary one");
}

int main(int argc, char** argv) {
    if (argc == 2)
        return 0;
    if (argc == 5)
        return stage(argv);
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
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(seen != MAP_FAILED);
    subtest("what is asked for, and a link that is read", links_of_the_next);
    subtest("what is asked for, and places that are read", places_of_the_last);
    return done();
}

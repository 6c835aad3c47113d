// DS, ES, FS and GS: a program may load them, and then they are its own, as its other registers.
#include "../lib/proc.h"
#include "../lib/tap.h"

#include <sched.h>
#include <sys/syscall.h>

enum { USER_DATA = 0x2b, ARCH_SET_GS = 0x1001, ARCH_SET_FS = 0x1002, ARCH_GET_FS = 0x1003 };

struct selectors {
    unsigned short ds, es, fs, gs;
};

#define LOAD(segment, selector) asm volatile("mov %0, %%" segment ::"r"((unsigned short)(selector)))
#define READ(segment)                                                                              \
    ({                                                                                             \
        unsigned short got_;                                                                       \
        asm volatile("mov %%" segment ", %0" : "=r"(got_));                                        \
        got_;                                                                                      \
    })

static inline struct selectors now(void) {
    return (struct selectors){READ("ds"), READ("es"), READ("fs"), READ("gs")};
}

static unsigned long packed(struct selectors s) {
    return s.ds | (unsigned long)s.es << 16 | (unsigned long)s.fs << 32 | (unsigned long)s.gs << 48;
}

// With another FS the C library has no TLS, and so no errno: this is all that may be called then.
static inline long raw_call(long number, long a, long b, long c, long d, long e) {
    long result;
    register long r10 asm("r10") = d;
    register long r8 asm("r8") = e;
    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                 : "rcx", "r11", "memory");
    return result;
}

static long fs_base(void) {
    long base;
    need(syscall(SYS_arch_prctl, ARCH_GET_FS, &base) == 0);
    return base;
}

static void stay_on_one_processor(void) {
    cpu_set_t allowed, one;
    need(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &allowed)) {
            CPU_SET(i, &one);
            break;
        }
    need(sched_setaffinity(0, sizeof one, &one) == 0);
}

// Loads all four, lets the other run, and looks: 0, or the number of what is wrong.
static int other_process(int to, int from) {
    const long tls = fs_base();
    char byte = 0;
    LOAD("ds", USER_DATA);
    LOAD("es", USER_DATA);
    LOAD("fs", USER_DATA);
    LOAD("gs", USER_DATA);
    const long sent = raw_call(SYS_write, to, (long)&byte, 1, 0, 0);
    const long received = raw_call(SYS_read, from, (long)&byte, 1, 0, 0);
    const struct selectors after = now();
    long base = -1;
    raw_call(SYS_arch_prctl, ARCH_GET_FS, (long)&base, 0, 0, 0);
    raw_call(SYS_arch_prctl, ARCH_SET_FS, tls, 0, 0, 0);
    if (sent != 1 || received != 1)
        return 1;
    if (after.ds != USER_DATA || after.es != USER_DATA)
        return 2;
    if (after.fs != USER_DATA || after.gs != USER_DATA)
        return 3;
    return base == 0 ? 0 : 4;
}

static void two_processes(void) {
    static long word = 0x5e1ec7;
    int there[2], back[2];
    char byte;
    need(pipe(there) == 0 && pipe(back) == 0);
    stay_on_one_processor();
    need(syscall(SYS_arch_prctl, ARCH_SET_GS, &word) == 0);
    is(packed(now()), 0, "a program has none at first");
    pid_t child = fork();
    need(child >= 0);
    if (child == 0)
        _exit(other_process(there[1], back[0]));
    need(read(there[0], &byte, 1) == 1); // sleeps until the child has loaded its own
    const struct selectors seen = now();
    is(seen.ds, 0, "another process's DS is not seen");
    is(seen.es, 0, "nor its ES");
    is(seen.fs, 0, "nor its FS");
    is(seen.gs, 0, "nor its GS");
    long in_gs;
    asm volatile("mov %%gs:0, %0" : "=r"(in_gs));
    is(in_gs, word, "the base of GS is this one's own");
    need(write(back[1], &byte, 1) == 1);
    is_exit(reap(child), 0, "the other finds its own again");
}

static void in_a_child(void) {
    LOAD("ds", USER_DATA);
    LOAD("es", USER_DATA);
    LOAD("gs", USER_DATA);
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        const struct selectors s = now();
        _exit(s.ds == USER_DATA && s.es == USER_DATA && s.fs == 0 && s.gs == USER_DATA ? 0 : 1);
    }
    is_exit(reap(child), 0, "fork: a child has its parent's");

    const long tls = fs_base();
    LOAD("fs", USER_DATA);
    const long pid = raw_call(SYS_clone, CLONE_SETTLS | SIGCHLD, 0, 0, 0, tls);
    const unsigned short fs = READ("fs");
    if (pid == 0)
        raw_call(SYS_exit_group, fs, 0, 0, 0, 0);
    raw_call(SYS_arch_prctl, ARCH_SET_FS, tls, 0, 0, 0);
    need(pid > 0);
    is(fs, USER_DATA, "the parent keeps its FS");
    is_exit(reap((pid_t)pid), 0, "CLONE_SETTLS: the child has a base in its place");
}

static const char* self;

static void after_exec(void) {
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        char* const args[] = {(char*)self, "selectors", NULL};
        LOAD("ds", USER_DATA);
        LOAD("es", USER_DATA);
        LOAD("gs", USER_DATA);
        LOAD("fs", USER_DATA);
        raw_call(SYS_execve, (long)self, (long)args, 0, 0, 0);
        raw_call(SYS_exit_group, 99, 0, 0, 0, 0);
    }
    is_exit(reap(child), 0, "exec: a new program has none");
}

static void set_base(void) {
    static long word = 0x5e1ec7;
    const long tls = fs_base();
    LOAD("fs", USER_DATA);
    LOAD("gs", USER_DATA);
    raw_call(SYS_arch_prctl, ARCH_SET_FS, tls, 0, 0, 0);
    need(syscall(SYS_arch_prctl, ARCH_SET_GS, &word) == 0);
    is(READ("fs"), 0, "ARCH_SET_FS takes the selector away");
    is(READ("gs"), 0, "ARCH_SET_GS as well");
    long in_gs;
    asm volatile("mov %%gs:0, %0" : "=r"(in_gs));
    is(in_gs, word, "and the base is there");
}

static volatile unsigned short ds_in_handler;

static void handler(int signo) {
    (void)signo;
    ds_in_handler = READ("ds");
    LOAD("es", 0);
}

static void in_a_handler(void) {
    need(signal(SIGUSR1, handler) != SIG_ERR);
    LOAD("ds", USER_DATA);
    LOAD("es", USER_DATA);
    need(raise(SIGUSR1) == 0);
    is(ds_in_handler, USER_DATA, "a handler runs with what was loaded");
    is(READ("ds"), USER_DATA, "it is there afterwards");
    is(READ("es"), 0, "and so is what the handler loads: it is not in the frame");
}

int main(int argc, char** argv) {
    if (argc > 1)
        return packed(now()) == 0 ? 0 : 1;
    self = self_path(argv[0]);
    subtest("two processes", two_processes);
    subtest("fork and clone", in_a_child);
    subtest("exec", after_exec);
    subtest("arch_prctl", set_base);
    subtest("signals", in_a_handler);
    return done();
}

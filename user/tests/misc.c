// What a program can ask about the machine, the system and itself.
#include "../lib/proc.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

static void system_name(void) {
    struct utsname name;
    is(uname(&name), 0, "uname");
    ok(name.sysname[0] != 0 && name.nodename[0] != 0 && name.version[0] != 0, "has names");
    is_str(name.machine, "x86_64", "the machine");
    int major = 0, minor = -1;
    ok(sscanf(name.release, "%d.%d", &major, &minor) == 2 && major >= 3,
       "a release that C libraries take for a Linux new enough");
}

static void identity(void) {
    pid_t parent = getpid(), child;
    ok(parent > 1 && getppid() >= 1, "process ids");
    is(getpid(), syscall(SYS_getpid), "by the call itself");
    is(syscall(SYS_gettid), parent, "the first thread's is the process's");
    child = fork();
    if (child == 0)
        _exit(getppid() == parent && getpid() != parent ? 0 : 1);
    ok(child != parent, "a child has another one");
    is_exit(reap(child), 0, "and knows its parent's");
    is(getuid(), geteuid(), "the user");
    is(getgid(), getegid(), "the group");
    child = fork();
    if (child == 0) {
        drop_root();
        need(getuid() != 0 && geteuid() == getuid() && getgid() == getegid());
        need(setuid(0) == -1 && errno == EPERM);
        need(setgid(0) == -1 && errno == EPERM);
        need(setuid(getuid()) == 0);
        _exit(0);
    }
    is_exit(reap(child), 0, "an ordinary user cannot become root");
}

static void memory(void) {
    struct sysinfo info;
    is(sysinfo(&info), 0, "sysinfo");
    ok(info.totalram > 0 && info.freeram <= info.totalram && info.mem_unit >= 1, "sane memory");
    ok(info.procs >= 1, "at least this process");
}

static void usage(void) {
    struct rusage before, after;
    is(getrusage(RUSAGE_SELF, &before), 0, "getrusage");
    char* pages = malloc(1 << 20);
    need(pages != NULL);
    memset(pages, 1, 1 << 20);
    need(getrusage(RUSAGE_SELF, &after) == 0);
    ok(after.ru_minflt > before.ru_minflt, "touching memory counts faults");
    ok(after.ru_maxrss > 0, "and resident pages");
    is(getrusage(RUSAGE_CHILDREN, &after), 0, "of children");
    is_errno(getrusage(99, &after), EINVAL, "of nobody");
    free(pages);
}

static void random_bytes(void) {
    unsigned char first[64], again[64];
    is(getrandom(first, sizeof first, 0), 64, "getrandom");
    is(getrandom(again, sizeof again, GRND_NONBLOCK), 64, "without blocking");
    ok(memcmp(first, again, 64) != 0, "not the same twice");
    is(getrandom(first, 0, 0), 0, "no bytes");
    is_errno(getrandom(first, 1, 0x100), EINVAL, "flags that are none");
}

static void process_name(void) {
    char name[16] = "";
    is(prctl(PR_SET_NAME, "a name", 0, 0, 0), 0, "PR_SET_NAME");
    is(prctl(PR_GET_NAME, name, 0, 0, 0), 0, "PR_GET_NAME");
    is_str(name, "a name", "gives it back");
    prctl(PR_SET_NAME, "a name that is longer than fifteen", 0, 0, 0);
    prctl(PR_GET_NAME, name, 0, 0, 0);
    is_str(name, "a name that is ", "or its first fifteen bytes");
    pid_t child = fork();
    if (child == 0) {
        char copy[16];
        prctl(PR_GET_NAME, copy, 0, 0, 0);
        _exit(strcmp(copy, name) == 0 ? 0 : 1);
    }
    is_exit(reap(child), 0, "a child has its parent's");
    is_errno(prctl(98765, 0, 0, 0, 0), EINVAL, "an operation that is none");
}

static void limits(void) {
    struct rlimit stack, files, changed;
    is(getrlimit(RLIMIT_STACK, &stack), 0, "the stack's limit");
    ok(stack.rlim_cur >= 1 << 20 && stack.rlim_cur <= stack.rlim_max, "is sane");
    is(getrlimit(RLIMIT_NOFILE, &files), 0, "the limit of descriptors");
    ok(files.rlim_cur >= 64, "is sane");
    files.rlim_cur = 50;
    is(setrlimit(RLIMIT_NOFILE, &files), 0, "lowered");
    pid_t child = fork();
    if (child == 0)
        _exit(getrlimit(RLIMIT_NOFILE, &changed) == 0 && changed.rlim_cur == 50 ? 0 : 1);
    is_exit(reap(child), 0, "a child has it too");
    changed = (struct rlimit){60, 50};
    is_errno(setrlimit(RLIMIT_NOFILE, &changed), EINVAL, "more than its maximum");
    is_errno(getrlimit(99, &changed), EINVAL, "of nothing");
    is_errno(syscall(SYS_prlimit64, 0x3ffffffe, RLIMIT_NOFILE, NULL, &changed), ESRCH, "of nobody");
}

static void registers(void) {
    unsigned long fs = 0, self = 0;
    is(syscall(SYS_arch_prctl, 0x1003, &fs), 0, "ARCH_GET_FS");
    asm("mov %%fs:0, %0" : "=r"(self));
    is(fs, self, "is where thread-local data are");
    is_errno(syscall(SYS_arch_prctl, 0x1002, 0xffffffff80000000), EPERM,
             "ARCH_SET_FS to a "
             "kernel address");
    is_errno(syscall(SYS_arch_prctl, 0x7777, 0), EINVAL, "an operation that is none");
}

static void gate_opened(void* gate) { gate_pass(gate); }

static void priority(void) {
    pid_t child = fork();
    if (child == 0) {
        errno = 0;
        const int given = getpriority(PRIO_PROCESS, 0); // by whoever runs the tests
        need(given >= 0 && given < 12 && errno == 0);
        need(setpriority(PRIO_PROCESS, 0, given + 5) == 0);
        need(getpriority(PRIO_PROCESS, 0) == given + 5);
        need(nice(2) == given + 7 && getpriority(PRIO_PROCESS, getpid()) == given + 7);
        need(setpriority(PRIO_PROCESS, 0, 100) == 0 && getpriority(PRIO_PROCESS, 0) == 19);
        need(getpriority(PRIO_PROCESS, 0x3ffffffe) == -1 && errno == ESRCH);
        need(getpriority(99, 0) == -1 && errno == EINVAL);
        _exit(0);
    }
    is_exit(reap(child), 0, "a process can be nice, and knows it");

    struct gate gate = gate_make();
    child = spawn(gate_opened, &gate);
    const int wanted = getpriority(PRIO_PROCESS, 0) + 3;
    is(setpriority(PRIO_PROCESS, (id_t)child, wanted), 0, "so can its child");
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", child);
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    need(n > 0 && close(fd) == 0);
    text[n] = 0;
    long priority_shown = 0, nice_shown = 0;
    is(sscanf(strrchr(text, ')'),
              ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %ld %ld",
              &priority_shown, &nice_shown),
       2, "/proc/PID/stat");
    ok(priority_shown == 20 + wanted && nice_shown == wanted, "shows both");
    gate_open(&gate);
    need(eventually(proc_state(child) == 'Z'));
    is(getpriority(PRIO_PROCESS, (id_t)child), wanted, "a zombie has one too");
    reap(child);
}

// The processors of `pid`, or -errno.
static long processors_of(pid_t pid) {
    unsigned long mask[16] = {0};
    return syscall(SYS_sched_getaffinity, pid, sizeof mask, mask) < 0 ? -errno : (long)mask[0];
}

static long set_processors(pid_t pid, unsigned long mask) {
    return syscall(SYS_sched_setaffinity, pid, sizeof mask, &mask) < 0 ? -errno : 0;
}

static void* ends_later(void* gate) {
    gate_pass(gate);
    syscall(SYS_exit_group, 0);
    return NULL;
}

// Two processors that there are; the same one if there is one.
static unsigned long one, another;

// A process of which only a second thread is left, once a gate lets the first one go.
static void first_thread_ends(void* gates) {
    struct gate* gate = gates;
    pthread_t second;
    need(set_processors(0, one) == 0);
    need(pthread_create(&second, NULL, ends_later, &gate[1]) == 0);
    gate_pass(&gate[0]);
    syscall(SYS_exit, 0);
}

static void are_its_own(pid_t pid, const char* whose) {
    is(processors_of(pid), (long)one, "%s: has its own", whose);
    is(set_processors(pid, 0), -EINVAL, "%s: none", whose);
    is(set_processors(pid, another), 0, "%s: another", whose);
    is(processors_of(pid), (long)another, "%s: has that", whose);
    need(set_processors(pid, one) == 0);
}

static void processors(void) {
    const long all = processors_of(0);
    need(all > 0);
    one = (unsigned long)(all & -all);
    another = 1UL << (63 - __builtin_clzl((unsigned long)all));
    is(set_processors(0, 0), -EINVAL, "none");
    is(set_processors(0, ~(unsigned long)all), -EINVAL, "only some that are not there");
    is(set_processors(0, ~0UL), 0, "also some that are not there");
    is(processors_of(0), all, "do not count");

    struct gate gates[2] = {gate_make(), gate_make()};
    char path[64];
    pid_t child = spawn(first_thread_ends, gates);
    need(eventually(processors_of(child) == (long)one));
    are_its_own(child, "alive");
    gate_open(&gates[0]);
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", child, child);
    need(eventually(proc_state(child) == 'Z' || access(path, F_OK) != 0)); // Linux or Spork
    are_its_own(child, "without its first thread");
    gate_open(&gates[1]);
    siginfo_t info;
    need(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
    are_its_own(child, "zombie");
    pid_t stranger = fork();
    if (stranger == 0) {
        if (geteuid() == 0)
            become(3000);
        _exit(processors_of(child) != (long)one ||
              (getuid() == 3000 && set_processors(child, one) != -EPERM));
    }
    is_exit(reap(stranger), 0, "everybody may ask, others may not set");
    reap(child);
    is(processors_of(child), -ESRCH, "nobody's");
    is(set_processors(child, 0), -ESRCH, "are not set");
    is_errno(syscall(SYS_sched_setaffinity, child, 8UL, 8UL), EFAULT, "not from nowhere");
    is_errno(syscall(SYS_sched_getaffinity, child, 4UL, path), EINVAL, "not by halves");
}

static void* own_slack(void* unused) {
    (void)unused;
    bool inherited = prctl(PR_GET_TIMERSLACK) == 70000;
    prctl(PR_SET_TIMERSLACK, 80000L);
    return (void*)(long)inherited;
}

static void timer_slack(void) {
    need(prctl(PR_SET_TIMERSLACK, 70000L) == 0);
    pthread_t thread;
    void* inherited;
    need(pthread_create(&thread, NULL, own_slack, NULL) == 0);
    need(pthread_join(thread, &inherited) == 0);
    ok(inherited != NULL, "a thread has its maker's");
    is(prctl(PR_GET_TIMERSLACK), 70000, "and changes its own");
    pid_t child = fork();
    if (child == 0) {
        need(prctl(PR_SET_TIMERSLACK, 60000L) == 0 && prctl(PR_SET_TIMERSLACK, 0L) == 0);
        _exit(prctl(PR_GET_TIMERSLACK) == 70000 ? 0 : 1);
    }
    is_exit(reap(child), 0, "0 makes it what the maker had");
}

// Every register but rax, rcx and r11 is as it was after a call.
static void preserved_registers(void) {
    long out[5] = {0, 0, 0, 0, 0};
    asm volatile("mov $0x1111, %%rdi\n\tmov $0x2222, %%rsi\n\tmov $0x3333, %%rdx\n\t"
                 "mov $0x4444, %%r8\n\tmov $0x5555, %%r10\n\tmov $39, %%eax\n\tsyscall\n\t"
                 "mov %%rdi, 0(%0)\n\tmov %%rsi, 8(%0)\n\tmov %%rdx, 16(%0)\n\t"
                 "mov %%r8, 24(%0)\n\tmov %%r10, 32(%0)"
                 :
                 : "r"(out)
                 : "rax", "rcx", "r11", "rdi", "rsi", "rdx", "r8", "r10", "memory");
    ok(out[0] == 0x1111 && out[1] == 0x2222 && out[2] == 0x3333 && out[3] == 0x4444 &&
           out[4] == 0x5555,
       "a call's arguments are still in their registers");
}

int main(void) {
    subtest("uname", system_name);
    subtest("identity", identity);
    subtest("sysinfo", memory);
    subtest("getrusage", usage);
    subtest("getrandom", random_bytes);
    subtest("the process's name", process_name);
    subtest("limits", limits);
    subtest("thread pointer", registers);
    subtest("priority", priority);
    subtest("processors", processors);
    subtest("timer slack", timer_slack);
    subtest("registers", preserved_registers);
    return done();
}

// bench: what process creation costs, and the memory operations beside it.
//
// The first process of a machine that does nothing else: one static binary, and one archive with it
// in, for Spork and for Linux (tools/sporklib/bench.py). Under `qemu -icount shift=0` the time
// stamp counter counts instructions, which is the unit of everything here.
//
// Its lines on the console, for each thing measured:
//
//     row NAME MIB SAMPLES MEDIAN         instructions for one operation
//     none NAME MIB ERRNO                 this kernel cannot do it
//
// MIB is the size of the parent's written private memory, 0 for what does not depend on it. System
// calls are made directly where a C library would add work of its own, so that the figures are the
// kernel's; spawn_* go through musl's posix_spawn.
//
// /bench.arguments in the archive: the sizes in MiB, then the names wanted (all when there is
// none).
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user/lib/afork.h"

enum { PAGE = 4096, MIB = 1 << 20, BATCH = 200, MAX_SAMPLES = 64 };

static const char program[] = "/tiny"; // exits at once
static char* const program_argv[] = {"tiny", NULL};
static char* const no_environment[] = {NULL};

// ---- System calls without a C library -------------------------------------------------------

#define call(number, a, b, c) afork_raw(number, a, b, c)

static inline long call6(long number, long a, long b, long c, long d, long e, long f) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static inline long do_fork(void) { return call(SYS_fork, 0, 0, 0); }

static inline _Noreturn void do_exit(void) {
    for (;;)
        call(SYS_exit_group, 0, 0, 0);
}

// clone(flags) onto a stack of the child's own, where it calls fn, which does not return.
long clone_on_stack(unsigned long flags, void* top, void (*fn)(void));
__asm__(".text\n"
        "clone_on_stack:\n\t"
        "mov %rdx, %r9\n\t"
        "xor %edx, %edx\n\t"
        "xor %r10d, %r10d\n\t"
        "xor %r8d, %r8d\n\t"
        "mov $56, %eax\n\t"
        "syscall\n\t"
        "test %rax, %rax\n\t"
        "jnz 1f\n\t"
        "xor %ebp, %ebp\n\t"
        "call *%r9\n\t"
        "hlt\n"
        "1: ret\n");

// ---- Samples --------------------------------------------------------------------------------

static inline uint64_t instructions(void) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

static uint64_t begun, sample;
static int failed; // an errno, when an operation did not work

static inline void start(void) { begun = instructions(); }
static inline void stop(void) { sample = instructions() - begun; }

static bool worked(long result) {
    if (result < 0)
        failed = (int)-result;
    return result >= 0;
}

static void reap(long pid) {
    int status = -1;
    if (!worked(pid))
        return;
    long reaped = call6(SYS_wait4, pid, (long)&status, 0, 0, 0, 0);
    if (worked(reaped) && (reaped != pid || status != 0))
        failed = ECHILD;
}

// ---- The parent's memory --------------------------------------------------------------------

static char* memory;
static size_t memory_pages;
static unsigned char round_number; // a new value for each round of writes

static bool map_memory(void) {
    long at = call6(SYS_mmap, 0, (long)(memory_pages * PAGE), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory = (char*)at;
    return worked(at);
}

static void unmap_memory(void) { worked(call(SYS_munmap, memory, memory_pages * PAGE, 0)); }

static void write_memory(void) {
    unsigned char value = ++round_number;
    for (size_t i = 0; i < memory_pages; i++)
        *(volatile unsigned char*)(memory + i * PAGE) = value;
}

static void read_memory(void) {
    for (size_t i = 0; i < memory_pages; i++)
        (void)*(volatile unsigned char*)(memory + i * PAGE);
}

// ---- Process creation -----------------------------------------------------------------------

static _Noreturn void do_exec(void) {
    call(SYS_execve, program, program_argv, no_environment);
    for (;;)
        call(SYS_exit_group, 127, 0, 0);
}

static void nothing(void) {
    start();
    stop();
}

static void fork_exit(void) {
    start();
    long pid = do_fork();
    if (pid == 0)
        do_exit();
    reap(pid);
    stop();
}

static void fork_exec(void) {
    start();
    long pid = do_fork();
    if (pid == 0)
        do_exec();
    reap(pid);
    stop();
}

// The parent has written all its memory since the last fork, as one that works between forks has.
static void fork_exit_dirty(void) {
    write_memory();
    fork_exit();
}

// The C library's, which has work of its own before and after, and writes to its own data in the child.
static void fork_exit_libc(void) {
    start();
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    reap(pid < 0 ? -errno : pid);
    stop();
}

static void vfork_exit(void) {
    start();
    pid_t pid = vfork();
    if (pid == 0)
        do_exit();
    reap(pid < 0 ? -errno : pid);
    stop();
}

static void vfork_exec(void) {
    start();
    pid_t pid = vfork();
    if (pid == 0)
        do_exec();
    reap(pid < 0 ? -errno : pid);
    stop();
}

static char child_stack[16384] __attribute__((aligned(16)));

// The part of afork that Linux has, too: a child in this memory, on its own stack, and a parent
// that goes on.
static void clone_vm(void (*child)(void)) {
    start();
    reap(clone_on_stack(CLONE_VM | SIGCHLD, child_stack + sizeof child_stack, child));
    stop();
}
static void clone_vm_exit(void) { clone_vm(do_exit); }
static void clone_vm_exec(void) { clone_vm(do_exec); }

static void clone_vm_call(void) {
    start();
    long pid = clone_on_stack(CLONE_VM | SIGCHLD, child_stack + sizeof child_stack, do_exit);
    stop();
    reap(pid);
}

static int return_zero(void* argument) { return 0; }

static int exec_or_127(void* argument) {
    afork_raw(SYS_execve, program, program_argv, no_environment);
    return 127;
}

// Spork's own call, with its descriptor.
static void afork_and_reap(int (*child)(void*)) {
    pid_t pid = 0;
    start();
    int fd = afork(child_stack, sizeof child_stack, child, NULL, AFORK_CLOEXEC, &pid);
    if (worked(fd < 0 ? -errno : 0)) {
        reap(pid);
        call(SYS_close, fd, 0, 0);
    }
    stop();
}
static void afork_exit(void) { afork_and_reap(return_zero); }
static void afork_exec(void) { afork_and_reap(exec_or_127); }

static void spawn_exec(void) {
    pid_t pid;
    start();
    int error = posix_spawn(&pid, program, NULL, NULL, program_argv, no_environment);
    reap(error ? -error : pid);
    stop();
}

// A child whose exec fails, so that it exits: what spawn costs without the new program.
static void spawn_exit(void) {
    pid_t pid;
    start();
    int error = posix_spawn(&pid, "/there/is/none", NULL, NULL, program_argv, no_environment);
    stop();
    if (error != ENOENT)
        failed = error ? error : ENOEXEC;
}

// A forked child that says it runs and then waits to be let go.
static int says[2], hears[2];

static long forked_and_waiting(void) {
    char c;
    long pid = do_fork();
    if (pid == 0) {
        call(SYS_write, says[1], "r", 1);
        call(SYS_read, hears[0], &c, 1);
        do_exit();
    }
    return pid;
}

static void await(void) {
    char c;
    call(SYS_read, says[0], &c, 1);
    for (int i = 0; i < 8; i++)
        call(SYS_sched_yield, 0, 0, 0);
}

static void let_go(long pid) {
    call(SYS_write, hears[1], "g", 1);
    reap(pid);
}

static void fork_call(void) {
    start();
    long pid = forked_and_waiting();
    stop();
    if (!worked(pid))
        return;
    await();
    let_go(pid);
}

static void fork_call_dirty(void) {
    write_memory();
    fork_call();
}

// ---- Memory ---------------------------------------------------------------------------------

// Each page is written while a child shares it ...
static void cow_break(void) {
    write_memory();
    long pid = forked_and_waiting();
    if (!worked(pid))
        return;
    await();
    start();
    write_memory();
    stop();
    let_go(pid);
}

// ... and after the child has gone: nothing is left to copy.
static void cow_reuse(void) {
    long pid = do_fork();
    if (pid == 0)
        do_exit();
    reap(pid);
    start();
    write_memory();
    stop();
}

// The right to write is taken, and given back.
static void mprotect_rewrite(void) {
    start();
    worked(call(SYS_mprotect, memory, memory_pages * PAGE, PROT_READ));
    worked(call(SYS_mprotect, memory, memory_pages * PAGE, PROT_READ | PROT_WRITE));
    write_memory();
    stop();
}

static void touch_write(void) {
    if (!map_memory())
        return;
    start();
    write_memory();
    stop();
    unmap_memory();
}

static void touch_read(void) {
    if (!map_memory())
        return;
    start();
    read_memory();
    stop();
    unmap_memory();
}

static void munmap_touched(void) {
    if (!map_memory())
        return;
    write_memory();
    start();
    unmap_memory();
    stop();
}

static void map_batch(long size, bool unmap, bool touch) {
    static long at[BATCH];
    uint64_t spent = 0;
    start();
    for (int i = 0; i < BATCH; i++) {
        at[i] =
            call6(SYS_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (!worked(at[i]))
            return;
        if (touch)
            *(volatile char*)at[i] = 1;
        if (unmap)
            call(SYS_munmap, at[i], size, 0);
    }
    stop();
    spent = sample;
    for (int i = 0; i < BATCH && !unmap; i++)
        call(SYS_munmap, at[i], size, 0);
    sample = spent;
}
static void mmap_alone(void) { map_batch(PAGE, false, false); }
static void mmap_munmap(void) { map_batch(PAGE, true, false); }
// Next to a mapping of the same kind, which it becomes one with and is cut from again.
static void mmap_munmap_beside(void) {
    long beside =
        call6(SYS_mmap, 0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    map_batch(PAGE, true, false);
    call(SYS_munmap, beside, PAGE, 0);
}
static void mmap_munmap_1m(void) { map_batch(MIB, true, false); }
static void mmap_touch_munmap(void) { map_batch(PAGE, true, true); }

static void null_call(void) {
    start();
    for (int i = 0; i < BATCH; i++)
        call(SYS_getppid, 0, 0, 0);
    stop();
}

static void yield(void) {
    start();
    for (int i = 0; i < BATCH; i++)
        call(SYS_sched_yield, 0, 0, 0);
    stop();
}

// A byte through a pipe within one process.
static void pipe_self(void) {
    char c = 0;
    start();
    for (int i = 0; i < BATCH; i++) {
        call(SYS_write, says[1], &c, 1);
        call(SYS_read, says[0], &c, 1);
    }
    stop();
}

static _Noreturn void echo(void) {
    char c;
    for (int i = 0; i < BATCH && call(SYS_read, hears[0], &c, 1) == 1; i++)
        call(SYS_write, says[1], &c, 1);
    do_exit();
}

// There and back: four calls and two switches.
static void ping_pong(long pid) {
    char c = 0;
    if (!worked(pid))
        return;
    start();
    for (int i = 0; i < BATCH; i++) {
        call(SYS_write, hears[1], &c, 1);
        if (call(SYS_read, says[0], &c, 1) != 1) {
            failed = EPIPE;
            break;
        }
    }
    stop();
    reap(pid);
}

static void pipe_pingpong(void) {
    long pid = do_fork();
    if (pid == 0)
        echo();
    ping_pong(pid);
}

static void pipe_pingpong_vm(void) {
    ping_pong(clone_on_stack(CLONE_VM | SIGCHLD, child_stack + sizeof child_stack, echo));
}

// ---- The table ------------------------------------------------------------------------------

static char wanted[256]; // names, each with a space on both sides; empty: all

static bool is_wanted(const char* name) {
    char spaced[64];
    snprintf(spaced, sizeof spaced, " %s ", name);
    return wanted[0] == '\0' || strstr(wanted, spaced) != NULL;
}

static int by_value(const void* a, const void* b) {
    uint64_t x = *(const uint64_t*)a, y = *(const uint64_t*)b;
    return (x > y) - (x < y);
}

// Runs `operation` a few times for nothing and then `samples` times; each is `count` operations.
static void measure(const char* name, unsigned mib, int warm, int samples, size_t count,
                    void (*operation)(void)) {
    static uint64_t taken[MAX_SAMPLES];
    if (!is_wanted(name))
        return;
    failed = 0;
    for (int i = -warm; i < samples && !failed; i++) {
        operation();
        if (i >= 0)
            taken[i] = sample;
    }
    if (failed) {
        printf("none %s %u %d\n", name, mib, failed);
        return;
    }
    qsort(taken, (size_t)samples, sizeof taken[0], by_value);
    uint64_t median = taken[samples / 2];
    printf("row %s %u %d %.1f\n", name, mib, samples, (double)median / (double)count);
}

// A parent with many mappings, each of which has a page.
static void many_mappings(void) {
    enum { MAPPINGS = 2000 };
    const size_t apart = 2 * PAGE;
    char* at = mmap(NULL, MAPPINGS * apart, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; at != MAP_FAILED && i < MAPPINGS; i++) {
        mprotect(at + i * apart, PAGE, PROT_READ | PROT_WRITE);
        at[i * apart] = 1;
    }
    measure("fork_call_entry", 0, 2, 5, 2 * MAPPINGS, fork_call);
    munmap(at, MAPPINGS * apart);
}

static void without_size(void) {
    measure("empty", 0, 2, 11, 1, nothing);
    measure("null_call", 0, 1, 11, BATCH, null_call);
    measure("sched_yield", 0, 1, 11, BATCH, yield);
    measure("mmap", 0, 1, 11, BATCH, mmap_alone);
    measure("mmap_munmap", 0, 1, 11, BATCH, mmap_munmap);
    measure("mmap_munmap_beside", 0, 1, 11, BATCH, mmap_munmap_beside);
    measure("mmap_munmap_1m", 0, 1, 11, BATCH, mmap_munmap_1m);
    measure("mmap_touch_munmap", 0, 1, 11, BATCH, mmap_touch_munmap);
    measure("pipe_self", 0, 1, 11, BATCH, pipe_self);
    measure("pipe_pingpong", 0, 1, 11, BATCH, pipe_pingpong);
    measure("pipe_pingpong_vm", 0, 1, 11, BATCH, pipe_pingpong_vm);
    many_mappings();
}

static void at_size(unsigned mib) {
    const int few = mib <= 4 ? 11 : mib <= 64 ? 5 : 3;
    const int many = 41;
    memory_pages = (size_t)mib * (MIB / PAGE);
    measure("touch_write", mib, 1, few, memory_pages, touch_write);
    measure("touch_read", mib, 1, few, memory_pages, touch_read);
    measure("munmap_touched", mib, 1, few, memory_pages, munmap_touched);

    failed = 0;
    if (!map_memory()) {
        printf("none memory %u %d\n", mib, failed);
        return;
    }
    write_memory();
    measure("fork_call", mib, 2, few, 1, fork_call);
    measure("fork_exit", mib, 2, few, 1, fork_exit);
    measure("fork_exit_libc", mib, 2, few, 1, fork_exit_libc);
    measure("fork_exec", mib, 2, few, 1, fork_exec);
    measure("fork_call_dirty", mib, 1, few, 1, fork_call_dirty);
    measure("fork_exit_dirty", mib, 1, few, 1, fork_exit_dirty);
    write_memory();
    measure("vfork_exit", mib, 5, many, 1, vfork_exit);
    measure("vfork_exec", mib, 5, many, 1, vfork_exec);
    measure("clone_vm_call", mib, 5, many, 1, clone_vm_call);
    measure("clone_vm_exit", mib, 5, many, 1, clone_vm_exit);
    measure("clone_vm_exec", mib, 5, many, 1, clone_vm_exec);
    measure("afork_exit", mib, 5, many, 1, afork_exit);
    measure("afork_exec", mib, 5, many, 1, afork_exec);
    measure("spawn_exit", mib, 5, many, 1, spawn_exit);
    measure("spawn_exec", mib, 5, many, 1, spawn_exec);
    measure("cow_break", mib, 1, few, memory_pages, cow_break);
    measure("cow_reuse", mib, 1, few, memory_pages, cow_reuse);
    measure("mprotect_rewrite", mib, 1, few, memory_pages, mprotect_rewrite);
    unmap_memory();
}

static void run(void) {
    char arguments[256] = "";
    int fd = open("/bench.arguments", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, arguments, sizeof arguments - 1) < 0) {
        printf("bench: /bench.arguments: %s\n", strerror(errno));
        return;
    }
    close(fd);
    if (pipe2(says, 0) != 0 || pipe2(hears, 0) != 0) {
        printf("bench: pipe: %s\n", strerror(errno));
        return;
    }
    unsigned sizes[16];
    int count = 0;
    for (char* word = strtok(arguments, " \n"); word != NULL; word = strtok(NULL, " \n")) {
        if (word[0] >= '0' && word[0] <= '9') {
            if (count < 16)
                sizes[count++] = (unsigned)strtoul(word, NULL, 10);
        } else {
            snprintf(wanted + strlen(wanted), sizeof wanted - strlen(wanted), " %s ", word);
        }
    }
    without_size();
    for (int i = 0; i < count; i++)
        at_size(sizes[i]);
}

int main(void) {
    uint64_t booted = instructions();
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("row boot_to_init 0 1 %llu.0\n", (unsigned long long)booted);
    run();
    printf("bench: done\n");
    if (getpid() == 1) {
        sync();
        reboot(RB_POWER_OFF);
    }
    return 0;
}

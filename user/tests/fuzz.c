// fuzz [SEED]: children make system calls at random, with random arguments. Whatever becomes of
// them, the machine goes on: this program still forks, and still gets right answers.
//
// The calls are chosen so that on Linux, too, a child harms nobody but itself: it is an ordinary
// user in a folder of its own, has no descriptors but its own, sends no signals, and makes no call
// that waits or that makes a process.
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <sys/mman.h>
#include <sys/syscall.h>

enum { CHILDREN = 30, CALLS = 400, PAGE = 4096 };

static const short numbers[] = {
    SYS_read,          SYS_write,          SYS_open,          SYS_close,
    SYS_stat,          SYS_fstat,          SYS_lstat,         SYS_lseek,
    SYS_mmap,          SYS_mprotect,       SYS_munmap,        SYS_brk,
    SYS_rt_sigaction,  SYS_rt_sigprocmask, SYS_ioctl,         SYS_pread64,
    SYS_pwrite64,      SYS_readv,          SYS_writev,        SYS_access,
    SYS_pipe,          SYS_sched_yield,    SYS_madvise,       SYS_dup,
    SYS_dup2,          SYS_getpid,         SYS_sendfile,      SYS_uname,
    SYS_fcntl,         SYS_ftruncate,      SYS_getcwd,        SYS_chdir,
    SYS_fchdir,        SYS_rename,         SYS_mkdir,         SYS_rmdir,
    SYS_link,          SYS_unlink,         SYS_symlink,       SYS_readlink,
    SYS_chmod,         SYS_fchmod,         SYS_umask,         SYS_gettimeofday,
    SYS_getrlimit,     SYS_getrusage,      SYS_sysinfo,       SYS_times,
    SYS_getuid,        SYS_getgid,         SYS_geteuid,       SYS_getegid,
    SYS_setpgid,       SYS_getppid,        SYS_getpgrp,       SYS_setsid,
    SYS_getpgid,       SYS_getsid,         SYS_rt_sigpending, SYS_sigaltstack,
    SYS_arch_prctl,    SYS_prctl,          SYS_gettid,        SYS_set_tid_address,
    SYS_clock_gettime, SYS_openat,         SYS_mkdirat,       SYS_newfstatat,
    SYS_unlinkat,      SYS_renameat,       SYS_linkat,        SYS_symlinkat,
    SYS_readlinkat,    SYS_fchmodat,       SYS_faccessat,     SYS_set_robust_list,
    SYS_utimensat,     SYS_dup3,           SYS_pipe2,         SYS_getrandom,
    SYS_getdents64,    SYS_getpriority,
};

static uint64_t seed = 20240607;
static char names[4][8] = {"a", "b/c", "..", "."};
static char area[4 * PAGE] __attribute__((aligned(4096)));

static uint64_t next_random(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

// A number that a program might use, or one that it should not.
static long argument(void) {
    const uint64_t r = next_random();
    switch (r % 16) {
    case 0: return 0;
    case 1:
    case 2:
    case 3: return (long)(r >> 32 & 15);
    case 4:
    case 5: return (long)names[r >> 32 & 3];
    case 6:
    case 7:
    case 8: return (long)(area + (r >> 32) % sizeof area);
    case 9: return (long)(r >> 32 & 7) * PAGE;
    case 10: return -1 - (long)(r >> 32 & 127);
    case 11: return (long)(0xffff800000000000 + (r >> 20));
    case 12: return (long)(0x7ffffffff000 - (r >> 32 & 0xffff));
    case 13: return (long)(r >> 40);
    case 14: return (long)1 << (r >> 32 & 63);
    default: return (long)next_random();
    }
}

static void make_calls(void* folder) {
    seed ^= (uint64_t)(uintptr_t)folder * 0x9e3779b97f4a7c15;
    next_random();
    need(mkdir("own", 0777) == 0 || errno == EEXIST);
    need(chmod("own", 0777) == 0);
    drop_root();
    need(chdir("own") == 0);
    for (int fd = 0; fd < 64; fd++)
        close(fd);
    int ends[2];
    if (open("file", O_RDWR | O_CREAT, 0600) != 0 || pipe2(ends, O_NONBLOCK) != 0)
        _exit(1);
    for (int i = 0; i < CALLS; i++) {
        long n = numbers[next_random() % (sizeof numbers / sizeof numbers[0])];
        long a[6];
        for (int j = 0; j < 6; j++)
            a[j] = argument();
        if (n == SYS_prctl)
            a[0] = 15 + (a[0] & 1); // the process's name
        if (n == SYS_fcntl)
            a[1] = (int[]){F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL}[(unsigned)a[1] % 5];
        if (n == SYS_mmap)
            a[3] &= MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS; // no page before its time
        if (n == SYS_pipe || n == SYS_pipe2)
            n = SYS_pipe2, a[1] |= O_NONBLOCK;
        if ((n == SYS_pwrite64 || n == SYS_ftruncate) && (unsigned long)a[3] > 1 << 20)
            a[3] = 1000;
        if (n == SYS_ftruncate)
            a[1] &= 0xfffff;
        long result;
        register long r10 asm("r10") = a[3];
        register long r8 asm("r8") = a[4];
        register long r9 asm("r9") = a[5];
        asm volatile("syscall"
                     : "=a"(result)
                     : "a"(n), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    }
    _exit(0);
}

int main(int argc, char** argv) {
    if (argc > 1)
        seed = strtoull(argv[1], NULL, 0);
    diag("to repeat this run: %s %llu", argv[0], (unsigned long long)seed);
    scratch_begin();
    int stuck = 0;
    for (long i = 1; i <= CHILDREN; i++) {
        pid_t child = spawn(make_calls, (void*)i), ended;
        int64_t end = now_ns() + 20000000000;
        while ((ended = waitpid(child, NULL, WNOHANG)) == 0 && now_ns() < end)
            breathe();
        if (ended == 0) {
            stuck++;
            kill(child, SIGKILL);
            reap(child);
        }
    }
    is(stuck, 0, "%d children made %d calls each, or died of them", CHILDREN, CALLS);

    int data[2];
    char text[3] = "";
    need(pipe(data) == 0);
    pid_t child = fork();
    need(child >= 0);
    if (child == 0)
        _exit(write(data[1], "ok", 2) == 2 ? 0 : 1);
    is(read(data[0], text, 2), 2, "a new child still talks to its parent");
    is_str(text, "ok", "and says what it should");
    is_exit(reap(child), 0, "and ends well");
    return done();
}

// Every system call that takes a pointer is given ones that are not the program's to give: the
// answer is EFAULT, and never a crash of anybody. Lengths out of all measure are in lengths.c.
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum {
    PAGE = 4096,
    FILE_FD = 40, // an open file with data in it
    READ_FD,      // a pipe with data in it
    WRITE_FD,     // and its other end
    FOLDER_FD,    // an open folder
    P = -77,      // in the table: the pointer under test goes here
};

static char buffer[PAGE];
static const long zero_time[4]; // two timespecs

enum kind {
    IN = 1,    // the kernel reads there
    OUT = 2,   // the kernel writes there
    WHOLE = 4, // it wants all of an object of more than one byte
};

#define STRING(text) (long)(text)
#define BUFFER (long)buffer
#define HERE (-100l) // AT_FDCWD

static const struct call {
    const char* name;
    long number;
    enum kind kind;
    long args[6];
} calls[] = {
    {"read", SYS_read, OUT, {FILE_FD, P, 16}},
    {"read pipe", SYS_read, OUT, {READ_FD, P, 16}},
    {"pread64", SYS_pread64, OUT, {FILE_FD, P, 16, 0}},
    {"readv", SYS_readv, IN | WHOLE, {FILE_FD, P, 1}},
    {"write", SYS_write, IN, {FILE_FD, P, 16}},
    {"write pipe", SYS_write, IN, {WRITE_FD, P, 16}},
    {"pwrite64", SYS_pwrite64, IN, {FILE_FD, P, 16, 0}},
    {"writev", SYS_writev, IN | WHOLE, {FILE_FD, P, 1}},
    {"sendfile", SYS_sendfile, IN | OUT | WHOLE, {WRITE_FD, FILE_FD, P, 1}},
    {"getdents64", SYS_getdents64, OUT, {FOLDER_FD, P, 512}},
    {"open", SYS_open, IN, {P, O_RDONLY}},
    {"openat", SYS_openat, IN, {HERE, P, O_RDONLY}},
    {"creat", SYS_open, IN, {P, O_CREAT | O_WRONLY, 0600}},
    {"stat path", SYS_stat, IN, {P, BUFFER}},
    {"stat", SYS_stat, OUT | WHOLE, {STRING("/"), P}},
    {"lstat path", SYS_lstat, IN, {P, BUFFER}},
    {"lstat", SYS_lstat, OUT | WHOLE, {STRING("/"), P}},
    {"fstat", SYS_fstat, OUT | WHOLE, {FILE_FD, P}},
    {"newfstatat path", SYS_newfstatat, IN, {HERE, P, BUFFER, 0}},
    {"newfstatat", SYS_newfstatat, OUT | WHOLE, {HERE, STRING("/"), P, 0}},
    {"access", SYS_access, IN, {P, R_OK}},
    {"faccessat", SYS_faccessat, IN, {HERE, P, R_OK}},
    {"chdir", SYS_chdir, IN, {P}},
    {"mkdir", SYS_mkdir, IN, {P, 0700}},
    {"rmdir", SYS_rmdir, IN, {P}},
    {"unlink", SYS_unlink, IN, {P}},
    {"unlinkat", SYS_unlinkat, IN, {HERE, P, 0}},
    {"rename from", SYS_rename, IN, {P, STRING("b")}},
    {"rename to", SYS_rename, IN, {STRING("a"), P}},
    {"link from", SYS_link, IN, {P, STRING("b")}},
    {"link to", SYS_link, IN, {STRING("a"), P}},
    {"symlink to", SYS_symlink, IN, {P, STRING("b")}},
    {"symlink", SYS_symlink, IN, {STRING("a"), P}},
    {"readlink path", SYS_readlink, IN, {P, BUFFER, 16}},
    {"readlink", SYS_readlink, OUT, {STRING("link"), P, 16}},
    {"readlinkat", SYS_readlinkat, OUT, {HERE, STRING("link"), P, 16}},
    {"chmod", SYS_chmod, IN, {P, 0600}},
    {"chown", SYS_chown, IN, {P, -1, -1}},
    {"utimensat path", SYS_utimensat, IN, {HERE, P, (long)zero_time, 0}},
    {"utimensat", SYS_utimensat, IN | WHOLE, {HERE, STRING("a"), P, 0}},
    {"mknodat", SYS_mknodat, IN, {HERE, P, 0100600, 0}},
    {"getcwd", SYS_getcwd, OUT | WHOLE, {P, 200}},
    {"execve path", SYS_execve, IN, {P, 0, 0}},
    {"execve argv", SYS_execve, IN | WHOLE, {STRING("/bin/sh"), P, 0}},
    {"execve envp", SYS_execve, IN | WHOLE, {STRING("/bin/sh"), 0, P}},
    {"pipe", SYS_pipe, OUT | WHOLE, {P}},
    {"pipe2", SYS_pipe2, OUT | WHOLE, {P, O_CLOEXEC}},
    {"poll", SYS_poll, IN | WHOLE, {P, 1, 0}},
    {"ppoll", SYS_ppoll, IN | WHOLE, {P, 1, (long)zero_time, 0, 8}},
    {"ppoll time", SYS_ppoll, IN | WHOLE, {0, 0, P, 0, 8}},
    {"ppoll mask", SYS_ppoll, IN | WHOLE, {0, 0, (long)zero_time, P, 8}},
    {"select", SYS_select, IN | WHOLE, {30, P, 0, 0, (long)zero_time}},
    {"select time", SYS_select, IN | WHOLE, {0, 0, 0, 0, P}},
    {"pselect6", SYS_pselect6, IN | WHOLE, {30, 0, P, 0, (long)zero_time, 0}},
    {"nanosleep", SYS_nanosleep, IN | WHOLE, {P, 0}},
    {"clock_nanosleep", SYS_clock_nanosleep, IN | WHOLE, {1, 0, P, 0}},
    {"clock_gettime", SYS_clock_gettime, OUT | WHOLE, {0, P}},
    {"gettimeofday", SYS_gettimeofday, OUT | WHOLE, {P, 0}},
    {"uname", SYS_uname, OUT | WHOLE, {P}},
    {"sysinfo", SYS_sysinfo, OUT | WHOLE, {P}},
    {"getrusage", SYS_getrusage, OUT | WHOLE, {0, P}},
    {"prlimit64 new", SYS_prlimit64, IN | WHOLE, {0, 7, P, 0}},
    {"prlimit64 old", SYS_prlimit64, OUT | WHOLE, {0, 7, 0, P}},
    {"rt_sigaction new", SYS_rt_sigaction, IN | WHOLE, {SIGUSR1, P, 0, 8}},
    {"rt_sigaction old", SYS_rt_sigaction, OUT | WHOLE, {SIGUSR1, 0, P, 8}},
    {"rt_sigprocmask new", SYS_rt_sigprocmask, IN | WHOLE, {SIG_BLOCK, P, 0, 8}},
    {"rt_sigprocmask old", SYS_rt_sigprocmask, OUT | WHOLE, {SIG_BLOCK, 0, P, 8}},
    {"rt_sigpending", SYS_rt_sigpending, OUT | WHOLE, {P, 8}},
    {"rt_sigsuspend", SYS_rt_sigsuspend, IN | WHOLE, {P, 8}},
    {"sigaltstack new", SYS_sigaltstack, IN | WHOLE, {P, 0}},
    {"sigaltstack old", SYS_sigaltstack, OUT | WHOLE, {0, P}},
    {"getrandom", SYS_getrandom, OUT, {P, 16, 0}},
    {"prctl set name", SYS_prctl, IN, {15, P}},
    {"prctl get name", SYS_prctl, OUT | WHOLE, {16, P}},
    {"arch_prctl get fs", SYS_arch_prctl, OUT | WHOLE, {0x1003, P}},
    {"futex wait", SYS_futex, IN, {P, 128, 0, (long)zero_time}},
};

static uintptr_t hole;      // an address with nothing mapped there
static uintptr_t edge;      // the last byte before it
static uintptr_t read_only; // a page that can be read

static void one_call(const struct call* call, uintptr_t pointer, const char* what) {
    long a[6];
    for (int i = 0; i < 6; i++)
        a[i] = call->args[i] == P ? (long)pointer : call->args[i];
    errno = 0;
    long result = syscall(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
    int error = errno;
    if (result != -1 || error != EFAULT)
        ok(false, "%s of %s: returned %ld, errno %d (%s)", call->name, what, result, error,
           strerror(error));
}

static void every_call(void) {
    const size_t count = sizeof calls / sizeof calls[0];
    for (size_t i = 0; i < count; i++) {
        one_call(&calls[i], hole, "an unmapped page");
        one_call(&calls[i], 8, "the address 8");
        one_call(&calls[i], 0x7ffffffff000, "the end of user space");
        one_call(&calls[i], 0x0000800000000000, "the first address that is not canonical");
        one_call(&calls[i], 0x1234567812345678, "an address that is not canonical");
        one_call(&calls[i], 0xffff800000000000, "the lowest kernel address");
        one_call(&calls[i], 0xffffffff80000000, "the kernel's text");
        one_call(&calls[i], 0xfffffffffffffff8, "the last word of all");
        if (calls[i].kind & WHOLE)
            one_call(&calls[i], edge, "an object that is half there");
        if (calls[i].kind & OUT)
            one_call(&calls[i], read_only, "a page that cannot be written");
    }
    ok(tap.failures == 0, "%zu calls with bad pointers are EFAULT", count);
}

static void nested_pointers(void) {
    struct iovec bad[2] = {{buffer, 4}, {(void*)hole, 4}};
    lseek(FILE_FD, 0, SEEK_SET);
    is(readv(FILE_FD, bad, 2), 4, "readv stops before a vector that is not there");
    is_errno(readv(FILE_FD, bad + 1, 1), EFAULT, "which alone is EFAULT");
    is_errno(writev(FILE_FD, bad + 1, 1), EFAULT, "for writev too");
    lseek(FILE_FD, 0, SEEK_SET);
    is(syscall(SYS_read, FILE_FD, edge, 16), 1, "read stops at the edge of what is there");
    is(syscall(SYS_read, READ_FD, edge - 3, 4), 4, "and a read that fits is whole");
}

// What was taken before the fault was seen is given back.
static void nothing_is_lost(void) {
    int before = dup(0);
    close(before);
    for (int i = 0; i < 300; i++)
        need(syscall(SYS_pipe, hole) == -1);
    int after = dup(0);
    close(after);
    is(after, before, "a pipe call that fails leaves no descriptor");

    pid_t child = fork();
    if (child == 0)
        _exit(3);
    need(eventually(proc_state(child) == 'Z'));
    is_errno(syscall(SYS_wait4, child, hole, 0, 0), EFAULT, "wait4 with a bad status pointer");
}

int main(void) {
    scratch_begin();
    char* pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char* page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(pages != MAP_FAILED && page != MAP_FAILED && munmap(pages + PAGE, PAGE) == 0);
    hole = (uintptr_t)pages + PAGE;
    edge = hole - 1;
    read_only = (uintptr_t)page;
    memset(pages, 'e', PAGE);

    put_file("a", 0600, "some data to read");
    need(symlink("a", "link") == 0);
    int ends[2], fd = open("a", O_RDWR), folder = open(".", O_RDONLY);
    need(pipe(ends) == 0 && fd >= 0 && folder >= 0);
    need(write(ends[1], buffer, 100) == 100);
    need(dup2(fd, FILE_FD) >= 0 && dup2(ends[0], READ_FD) >= 0 && dup2(ends[1], WRITE_FD) >= 0 &&
         dup2(folder, FOLDER_FD) >= 0);

    subtest("every call", every_call);
    subtest("pointers within what is pointed to", nested_pointers);
    subtest("nothing is lost", nothing_is_lost);
    return done();
}

// Descriptors: numbers, copies, flags; what copies share and what they do not.
#include "../lib/counts.h"
#include "../lib/proc.h"
#include "../lib/scratch.h"
#include "../lib/spork.h"

#include <sys/resource.h>
#include <sys/syscall.h>

static int open_file(void) {
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    need(fd >= 0 && write(fd, "0123456789", 10) == 10);
    return fd;
}

static void numbers(void) {
    int first = open_file(), second = open("/dev/null", O_RDWR), third = dup(first);
    ok(first < second && second < third, "numbers grow");
    close(first);
    is(open("/dev/null", O_RDONLY), first, "the lowest free one is used again");
    is(fcntl(second, F_DUPFD, 100), 100, "F_DUPFD: not below its argument");
    is(fcntl(second, F_DUPFD, 100), 101, "nor one that is taken");
    is_errno(close(99), EBADF, "closing what is not open");
    close(100);
    is_errno(close(100), EBADF, "or no longer");
}

static void copies(void) {
    char byte;
    int fd = open_file(), copy = dup(fd), other = open("file", O_RDONLY);
    lseek(fd, 3, SEEK_SET);
    need(read(copy, &byte, 1) == 1);
    is(byte, '3', "copies share the place in the file");
    is(lseek(fd, 0, SEEK_CUR), 4, "both ways");
    is(lseek(other, 0, SEEK_CUR), 0, "another open does not");
    pid_t child = fork();
    if (child == 0)
        _exit(lseek(fd, 7, SEEK_SET) == 7 ? 0 : 1);
    is_exit(reap(child), 0, "a child moves");
    is(lseek(fd, 0, SEEK_CUR), 7, "the place it shares with its parent");
    need(fcntl(fd, F_SETFL, O_APPEND) == 0);
    ok(fcntl(copy, F_GETFL) & O_APPEND, "copies share the file's flags");
    close(fd);
    is(lseek(copy, 0, SEEK_CUR), 7, "a copy outlives the original");
}

static void dup2_dup3(void) {
    int fd = open_file();
    is(dup2(fd, 50), 50, "dup2 to a free number");
    is(dup2(fd, 50), 50, "dup2 to one that is taken");
    is(dup2(fd, fd), fd, "dup2 to itself");
    is_errno(dup2(49, 50), EBADF, "dup2 of what is not open");
    is(lseek(50, 0, SEEK_END), 10, "leaves the target alone");
    is_errno(dup2(fd, -1), EBADF, "dup2 to -1");
    is(dup3(fd, 51, O_CLOEXEC), 51, "dup3");
    is(fcntl(51, F_GETFD), FD_CLOEXEC, "with close-on-exec");
    is_errno(dup3(fd, fd, 0), EINVAL, "dup3 to itself");
    is_errno(syscall(SYS_dup3, fd, 52, O_APPEND), EINVAL, "dup3 with a flag that is none of its");

    int ends[2];
    need(pipe(ends) == 0);
    dup2(fd, ends[1]);
    char byte;
    is(read(ends[0], &byte, 1), 0, "dup2 closes what was there: the pipe has no writer");
}

static void descriptor_flags(void) {
    int fd = open_file(), copy;
    is(fcntl(fd, F_GETFD), 0, "no flag at first");
    is(fcntl(fd, F_SETFD, FD_CLOEXEC), 0, "F_SETFD");
    is(fcntl(fd, F_GETFD), FD_CLOEXEC, "F_GETFD");
    copy = dup(fd);
    is(fcntl(copy, F_GETFD), 0, "a copy does not have it");
    is(fcntl(fd, F_GETFD), FD_CLOEXEC, "the original still has");
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    is(fcntl(copy, F_GETFD), FD_CLOEXEC, "unless it was asked for");
    copy = open("file", O_RDONLY | O_CLOEXEC);
    is(fcntl(copy, F_GETFD), FD_CLOEXEC, "open with O_CLOEXEC");
    pid_t child = fork();
    if (child == 0)
        _exit(fcntl(copy, F_GETFD));
    is_exit(reap(child), FD_CLOEXEC, "fork copies it, flag and all");
}

static void file_flags(void) {
    int fd = open_file();
    is(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR, "F_GETFL: reading and writing");
    int other = open("file", O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, 0600);
    is(fcntl(other, F_GETFL) & (O_ACCMODE | O_APPEND | O_CREAT | O_NONBLOCK | O_TRUNC),
       O_WRONLY | O_APPEND | O_NONBLOCK, "the flags that stay, and not O_CREAT");
    is(fcntl(other, F_SETFL, O_RDWR), 0, "F_SETFL");
    is(fcntl(other, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_WRONLY,
       "clears flags, and cannot change the access mode");
    need(fcntl(fd, F_SETFL, O_APPEND) == 0);
    lseek(fd, 0, SEEK_SET);
    need(write(fd, "X", 1) == 1);
    is(lseek(fd, 0, SEEK_CUR), 11, "O_APPEND set later: the write went to the end");

    is_errno(fcntl(fd, 9999), EINVAL, "a command that is none");
    is_errno(fcntl(fd, F_DUPFD, -1), EINVAL, "F_DUPFD from -1");
    is_errno(fcntl(fd, F_DUPFD, 1 << 30), EINVAL, "F_DUPFD from beyond the limit");
}

static void limit(void) {
    struct rlimit old, new;
    need(getrlimit(RLIMIT_NOFILE, &old) == 0);
    new = old;
    new.rlim_cur = 20;
    need(setrlimit(RLIMIT_NOFILE, &new) == 0);
    int fd, last = -1;
    while ((fd = open("/dev/null", O_RDONLY)) >= 0)
        last = fd;
    is(errno, EMFILE, "more than the limit: EMFILE");
    is(last, 19, "at the limit");
    is_errno(dup(0), EMFILE, "for dup");
    is_errno(pipe((int[2]){0}), EMFILE, "for pipe");
    is_errno(dup2(0, 20), EBADF, "dup2 beyond the limit");
    close(last);
    is_errno(pipe((int[2]){0}), EMFILE, "a pipe needs two");
    is(dup(0), last, "and has not kept the one there was");
    need(setrlimit(RLIMIT_NOFILE, &old) == 0);
    ok((fd = dup(0)) > last, "with the old limit there is room again");
}

// A table of many descriptors, copied by fork.
static void many(void) {
    int fd = open_file(), count = 0;
    while (count < 500 && fcntl(fd, F_DUPFD, 20) >= 0)
        count++;
    is(count, 500, "500 copies");
    pid_t child = fork();
    if (child == 0) {
        for (int i = 20; i < 520; i++)
            need(close(i) == 0);
        _exit(0);
    }
    is_exit(reap(child), 0, "a child closes all of its own");
    is(lseek(519, 0, SEEK_END), 10, "the parent's are open");
}

// What a high descriptor needed is given back with it.
static void high(void) {
    enum { HIGH = 20000 };
    struct rlimit old, new = {HIGH, HIGH};
    need(getrlimit(RLIMIT_NOFILE, &old) == 0);
    new.rlim_max = old.rlim_max;
    need(setrlimit(RLIMIT_NOFILE, &new) == 0);
    int fd, least = dup(0), last = least;
    while ((fd = dup(0)) > last)
        last = fd;
    is(last, HIGH - 1, "%d descriptors", HIGH);
    close(1000);
    close(500);
    close(700);
    is(dup(0), 500, "the lowest free one is taken");
    is(fcntl(0, F_DUPFD, 600), 700, "or the lowest from a number on");
    is(dup(0), 1000, "and then the next");
    is_errno(dup(0), EMFILE, "until none is left");
    close(last); // /proc/pools needs one
    const long full = on_spork() ? counts_now("kmem") : 0;
    for (int i = least; i < last; i++)
        need(close(i) == 0);
    const long empty = on_spork() ? counts_now("kmem") : 0;
    if (on_spork())
        ok(full - empty > HIGH * 8L, "the table of all shrinks when they are closed");
    is(dup2(0, last), last, "a high one again");
    is(dup(0), least, "and a low one");
    is(syscall(SYS_close_range, (unsigned)least, ~0U, 0), 0, "close_range");
    if (on_spork())
        ok(counts_now("kmem") - empty < HIGH, "gives the room back, too");
    need(setrlimit(RLIMIT_NOFILE, &old) == 0);
}

// A file that could not be opened is not made, either.
static void nothing_made(void) {
    const int next = dup(0);
    need(next >= 0 && close(next) == 0);
    struct rlimit old, new;
    need(getrlimit(RLIMIT_NOFILE, &old) == 0);
    new = old;
    new.rlim_cur = (rlim_t)next;
    need(setrlimit(RLIMIT_NOFILE, &new) == 0);
    is_errno(open("never", O_CREAT | O_RDWR, 0600), EMFILE, "no descriptor is left");
    is_errno(open("never", O_CREAT | O_EXCL | O_RDONLY, 0600), EMFILE, "nor for a new file");
    is_errno(creat("never", 0600), EMFILE, "nor for creat");
    is_errno(open("no/directory", O_RDONLY), EMFILE, "it is the first thing that is looked for");
    need(setrlimit(RLIMIT_NOFILE, &old) == 0);
    is_errno(access("never", F_OK), ENOENT, "none of them has made a file");
    is(open("never", O_CREAT | O_RDWR, 0600), next, "with one it is made");
    is(close(next), 0, "and open");
}

int main(void) {
    scratch_begin();
    subtest("numbers", numbers);
    subtest("copies", copies);
    subtest("dup2 and dup3", dup2_dup3);
    subtest("close-on-exec", descriptor_flags);
    subtest("flags of the open file", file_flags);
    subtest("the limit", limit);
    subtest("many", many);
    subtest("high", high);
    subtest("a file without a descriptor", nothing_made);
    return done();
}

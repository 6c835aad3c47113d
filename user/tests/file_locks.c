// Advisory locks: fcntl's, of processes and of open files, and flock's.
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <sys/file.h>

static int set_lock(int fd, int command, short type, off_t start, off_t length) {
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(fd, command, &l);
}

// Whether another process could have the lock now: its errno, or 0.
static int others_errno(short type, off_t start, off_t length) {
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        int fd = open("file", O_RDWR);
        _exit(set_lock(fd, F_SETLK, type, start, length) == 0 ? 0 : errno);
    }
    int status;
    need(waitpid(child, &status, 0) == child);
    return WEXITSTATUS(status);
}

static void records(void) {
    put_file("file", 0600, "0123456789");
    int fd = open("file", O_RDWR);
    is(set_lock(fd, F_SETLK, F_WRLCK, 10, 10), 0, "a lock");
    is(others_errno(F_WRLCK, 0, 10), 0, "before it another's");
    is(others_errno(F_WRLCK, 20, 0), 0, "behind it, to the end");
    is(others_errno(F_WRLCK, 0, 11), EAGAIN, "one byte over it");
    is(others_errno(F_RDLCK, 19, 1), EAGAIN, "its last byte");
    is(set_lock(fd, F_SETLK, F_RDLCK, 12, 4), 0, "a part becomes shared");
    is(others_errno(F_RDLCK, 12, 4), 0, "which others share");
    is(others_errno(F_WRLCK, 15, 1), EAGAIN, "and do not have alone");
    is(others_errno(F_RDLCK, 16, 1), EAGAIN, "while the rest is as it was");
    is(others_errno(F_RDLCK, 11, 1), EAGAIN, "on both sides");
    is(set_lock(fd, F_SETLK, F_UNLCK, 13, 2), 0, "a hole in the middle");
    is(others_errno(F_WRLCK, 13, 2), 0, "is free");
    is(others_errno(F_WRLCK, 12, 1), EAGAIN, "its neighbours are not");
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};
        need(fcntl(fd, F_GETLK, &l) == 0);
        _exit(l.l_type == F_WRLCK && l.l_pid == getppid() && l.l_start == 10 && l.l_len == 2 ? 0
                                                                                             : 1);
    }
    int status;
    need(waitpid(child, &status, 0) == child);
    is(status, 0, "F_GETLK tells a child which and whose");
    close(dup(fd));
    is(others_errno(F_WRLCK, 0, 0), 0, "closing any descriptor of the file drops them all");
    is_errno(set_lock(fd, F_SETLK, F_WRLCK, -1, 1), EINVAL, "before the start of the file");
    int reader = open("file", O_RDONLY);
    is_errno(set_lock(reader, F_SETLK, F_WRLCK, 0, 1), EBADF, "a write lock needs a writer");
}

static void waiting(void) {
    int fd = open("file", O_RDWR), tell[2];
    need(pipe(tell) == 0);
    need(set_lock(fd, F_SETLK, F_WRLCK, 0, 0) == 0);
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        int own = open("file", O_RDWR);
        need(write(tell[1], "w", 1) == 1);
        need(set_lock(own, F_SETLKW, F_WRLCK, 0, 0) == 0);
        need(write(tell[1], "l", 1) == 1);
        _exit(0);
    }
    char c;
    need(read(tell[0], &c, 1) == 1);
    need(fcntl(tell[0], F_SETFL, O_NONBLOCK) == 0);
    usleep(20000);
    is_errno(read(tell[0], &c, 1), EAGAIN, "F_SETLKW waits");
    need(fcntl(tell[0], F_SETFL, 0) == 0);
    need(set_lock(fd, F_SETLK, F_UNLCK, 0, 0) == 0);
    is(read(tell[0], &c, 1), 1, "until the lock is gone");
    need(waitpid(child, NULL, 0) == child);
    is(set_lock(fd, F_SETLK, F_WRLCK, 0, 0), 0, "a process that ends drops its locks");
}

static void open_files(void) {
    int a = open("file", O_RDWR), b = open("file", O_RDWR);
    is(set_lock(a, F_OFD_SETLK, F_WRLCK, 0, 5), 0, "a lock of an open file");
    is_errno(set_lock(b, F_OFD_SETLK, F_WRLCK, 4, 1), EAGAIN,
             "keeps out another of the same process");
    is_errno(set_lock(b, F_SETLK, F_WRLCK, 4, 1), EAGAIN, "and the process itself");
    int copy = dup(a);
    close(a);
    is_errno(set_lock(b, F_OFD_SETLK, F_WRLCK, 4, 1), EAGAIN, "as long as it has a descriptor");
    close(copy);
    is(set_lock(b, F_OFD_SETLK, F_WRLCK, 4, 1), 0, "and no longer");
}

static void whole_files(void) {
    int a = open("file", O_RDONLY), b = open("file", O_RDONLY);
    is(flock(a, LOCK_SH), 0, "flock, shared");
    is(flock(b, LOCK_SH | LOCK_NB), 0, "twice");
    is_errno(flock(b, LOCK_EX | LOCK_NB), EAGAIN, "not alone");
    is(flock(a, LOCK_UN), 0, "until the other goes");
    is(flock(b, LOCK_EX | LOCK_NB), 0, "then alone");
    is_errno(flock(a, LOCK_SH | LOCK_NB), EAGAIN, "which keeps the other out");
    int w = open("file", O_RDWR);
    is(set_lock(w, F_SETLK, F_WRLCK, 0, 0), 0, "fcntl's locks are others");
    is_errno(flock(a, LOCK_SH | LOCK_EX), EINVAL, "both at once");
}

int main(void) {
    scratch_begin();
    subtest("records", records);
    subtest("waiting", waiting);
    subtest("open files", open_files);
    subtest("whole files", whole_files);
    return done();
}

// Advisory locks: fcntl's, of processes and of open files, and flock's.
#include "../lib/proc.h"
#include "../lib/scratch.h"
#include "../lib/spork.h"

#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>

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

// ---- The lock that is told ---------------------------------------------------------------------

// The lock that keeps another process from locking all of the file, as "W 10+5".
static const char* told_to_others(int fd) {
    static char* text;
    if (text == NULL)
        text = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(text != MAP_FAILED);
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        need(fcntl(fd, F_GETLK, &l) == 0);
        snprintf(text, 64, "%c %ld+%ld", "RW-"[l.l_type], (long)l.l_start, (long)l.l_len);
        _exit(0);
    }
    need(exited_with(reap(child), 0));
    return text;
}

static void told(void) {
    int fd = open("file", O_RDWR);
    need(set_lock(fd, F_SETLK, F_WRLCK, 10, 5) == 0 && set_lock(fd, F_SETLK, F_RDLCK, 5, 8) == 0);
    is_str(told_to_others(fd), "R 5+8", "the lock that comes first in the file");
    need(set_lock(fd, F_SETLK, F_RDLCK, 0, 5) == 0);
    is_str(told_to_others(fd), "R 0+13", "two of one kind that touch are one");
    need(set_lock(fd, F_SETLK, F_RDLCK, 13, 0) == 0);
    is_str(told_to_others(fd), "R 0+0", "and so is what took another's place, to the end");
    need(set_lock(fd, F_SETLK, F_WRLCK, 2, 1) == 0);
    is_str(told_to_others(fd), "R 0+2", "a piece of another kind parts them");
    need(set_lock(fd, F_SETLK, F_UNLCK, 0, 2) == 0);
    is_str(told_to_others(fd), "W 2+1", "it is first when what was before it is gone");

    // Another's lock before it in the file comes after it in time.
    struct gate held = gate_make(), go = gate_make();
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        int own = open("file", O_RDWR);
        need(set_lock(own, F_SETLK, F_WRLCK, 0, 1) == 0);
        gate_open(&held);
        gate_pass(&go);
        _exit(0);
    }
    gate_pass(&held);
    is_str(told_to_others(fd), "W 2+1", "of two processes' the one's that had one first");
    need(set_lock(fd, F_SETLK, F_UNLCK, 0, 0) == 0 && set_lock(fd, F_SETLK, F_WRLCK, 2, 1) == 0);
    is_str(told_to_others(fd), "W 0+1", "as long as it had one");
    gate_open(&go);
    need(exited_with(reap(child), 0));
}

// ---- Two threads, one descriptor ---------------------------------------------------------------

// Whether a thread sleeps until it gets a lock. Spork says what for; on Linux it is the only reason
// to sleep that there is in these tests.
static bool waits_for_lock(pid_t tid) {
    char path[64], why[32] = "";
    snprintf(path, sizeof path, "/proc/%d/wchan", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool known = fd >= 0 && read(fd, why, sizeof why - 1) > 0;
    close(fd);
    return on_spork() ? known && strcmp(why, "file_lock") == 0 : proc_state(tid) == 'S';
}

static volatile struct {
    pid_t tid;
    int fd, error;
} waiter;

static void* wait_for_lock(void* unused) {
    (void)unused;
    waiter.tid = (pid_t)syscall(SYS_gettid);
    waiter.error = set_lock(waiter.fd, F_SETLKW, F_WRLCK, 2, 4) == 0 ? 0 : errno;
    return NULL;
}

// A process in which one thread waits for a lock that the parent has; meanwhile another one closes
// the descriptor, or makes it mean another file.
static void lose_descriptor(bool replaced, const struct gate gates[3]) {
    pthread_t thread;
    int other = open("other", O_RDWR | O_CREAT, 0600);
    waiter.fd = open("file", O_RDWR);
    need(other >= 0 && waiter.fd >= 0);
    need(pthread_create(&thread, NULL, wait_for_lock, NULL) == 0);
    need(eventually(waiter.tid != 0 && waits_for_lock(waiter.tid)));
    need(replaced ? dup2(other, waiter.fd) == waiter.fd : close(waiter.fd) == 0);
    // A lock that came after the close: it goes as well, as those do that are there at a close.
    int again = fcntl(open("file", O_RDWR), F_DUPFD, 100);
    need(set_lock(again, F_SETLK, F_WRLCK, 0, 1) == 0);
    gate_open(&gates[0]);
    need(pthread_join(thread, NULL) == 0);
    gate_open(&gates[1]);
    gate_pass(&gates[2]);
    _exit(waiter.error == EBADF ? 0 : 1);
}

static void loses_descriptor(bool replaced) {
    put_file("file", 0600, "0123456789");
    int fd = open("file", O_RDWR);
    struct gate gates[3] = {gate_make(), gate_make(), gate_make()};
    need(set_lock(fd, F_SETLK, F_WRLCK, 2, 4) == 0);
    pid_t child = fork();
    need(child >= 0);
    if (child == 0)
        lose_descriptor(replaced, gates);
    gate_pass(&gates[0]);
    need(set_lock(fd, F_SETLK, F_UNLCK, 0, 0) == 0);
    gate_pass(&gates[1]);
    is(others_errno(F_WRLCK, 0, 0), 0, "%s: the lock that came after that is nobody's",
       replaced ? "replaced" : "closed");
    gate_open(&gates[2]);
    is_exit(reap(child), 0, "who waited is told EBADF");
}

static void lost_descriptors(void) {
    loses_descriptor(false);
    loses_descriptor(true);
}

// ---- Circles -----------------------------------------------------------------------------------

// Process `n` of `count` has byte n, and waits for byte n+1. The last one is this process.
static void circle_of(int count) {
    int fd = open("file", O_RDWR);
    pid_t members[16];
    need(set_lock(fd, F_SETLK, F_WRLCK, 0, 1) == 0);
    for (int n = 1; n < count; n++) {
        struct gate has = gate_make();
        members[n] = fork();
        need(members[n] >= 0);
        if (members[n] == 0) {
            need(set_lock(fd, F_SETLK, F_WRLCK, n, 1) == 0);
            gate_open(&has);
            // The one before it gets the byte when this one has ended.
            _exit(set_lock(fd, F_SETLKW, F_WRLCK, n - 1, 1) == 0 ? n : 99);
        }
        gate_pass(&has);
        need(eventually(waits_for_lock(members[n])));
    }
    is_errno(set_lock(fd, F_SETLKW, F_WRLCK, count - 1, 1), EDEADLK, "a circle of %d", count);
    is_errno(set_lock(fd, F_SETLK, F_WRLCK, count - 1, 1), EAGAIN, "who does not wait closes none");
    need(set_lock(fd, F_SETLK, F_UNLCK, 0, 0) == 0);
    int ended = 0;
    for (int n = 1; n < count; n++)
        ended += exited_with(reap(members[n]), n);
    is(ended, count - 1, "the others get theirs");
    need(set_lock(fd, F_SETLK, F_UNLCK, 0, 0) == 0);
}

static void circles(void) {
    circle_of(2);
    circle_of(3);
    circle_of(10);
}

// A circle that was one: who waits for a lock that is gone is no part of another.
static void no_circle(void) {
    int fd = open("file", O_RDWR);
    need(set_lock(fd, F_SETLK, F_WRLCK, 0, 1) == 0);
    int other = open("other", O_RDWR | O_CREAT, 0600);
    struct gate has = gate_make(), stop = gate_make();
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        need(set_lock(other, F_SETLK, F_WRLCK, 0, 1) == 0);
        gate_open(&has);
        need(set_lock(fd, F_SETLKW, F_WRLCK, 0, 1) == 0);
        gate_pass(&stop);
        _exit(0);
    }
    gate_pass(&has);
    need(eventually(waits_for_lock(child)));
    is_errno(set_lock(other, F_SETLKW, F_WRLCK, 0, 1), EDEADLK,
             "locks of two files are one circle");
    need(set_lock(fd, F_SETLK, F_UNLCK, 0, 0) == 0);
    gate_open(&stop);
    is(set_lock(other, F_SETLKW, F_WRLCK, 0, 1), 0,
       "without the first there is none, and it waits");
    is_exit(reap(child), 0, "the other ended");
    // Locks of open files do not belong to processes: nobody can tell whether that is a circle.
    is(set_lock(fd, F_OFD_SETLK, F_WRLCK, 0, 1), 0, "a lock of an open file");
}

// Two have the file together, and both want it alone.
static void flock_of_two(void) {
    int mine = open("file", O_RDONLY);
    struct gate has = gate_make();
    need(flock(mine, LOCK_SH) == 0);
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        int own = open("file", O_RDONLY);
        need(flock(own, LOCK_SH) == 0);
        gate_open(&has);
        _exit(flock(own, LOCK_EX) == 0 ? 0 : 1);
    }
    gate_pass(&has);
    need(eventually(waits_for_lock(child)));
    is(flock(mine, LOCK_EX), 0, "flock gives up what it has before it waits for more");
    need(flock(mine, LOCK_UN) == 0);
    is_exit(reap(child), 0, "and the other gets it, too");
    int third = open("file", O_RDONLY);
    need(flock(mine, LOCK_SH) == 0 && flock(third, LOCK_SH) == 0);
    is_errno(flock(mine, LOCK_EX | LOCK_NB), EAGAIN, "it does not wait");
    is(flock(third, LOCK_EX | LOCK_NB), 0, "but has given it up all the same");
}

// ---- A limit -----------------------------------------------------------------------------------

static void limit(void) {
    if (!on_spork()) {
        skip("Linux has no limit");
        return;
    }
    drop_root();
    int fd = open("theirs", O_RDWR);
    need(fd >= 0);
    long n = 0;
    while (set_lock(fd, F_SETLK, F_WRLCK, 2 * n, 1) == 0)
        n++;
    ok(errno == ENOLCK && n >= 1000, "%ld locks are enough for one user (errno %d)", n, errno);
    is_errno(set_lock(fd, F_SETLK, F_WRLCK, 2 * n, 1), ENOLCK, "there are no more");
    is(set_lock(fd, F_SETLK, F_WRLCK, 0, 3), 0, "one that takes others in needs no more");
    is(set_lock(fd, F_SETLK, F_UNLCK, 0, 0), 0, "all can be given back");
    is(set_lock(fd, F_SETLK, F_WRLCK, 0, 1), 0, "and had again");
}

int main(void) {
    scratch_begin();
    subtest("records", records);
    subtest("waiting", waiting);
    subtest("open files", open_files);
    subtest("whole files", whole_files);
    subtest("which lock is told", told);
    subtest("a descriptor that is closed while its lock is waited for", lost_descriptors);
    subtest("circles", circles);
    subtest("what is no circle", no_circle);
    subtest("two flocks that become exclusive", flock_of_two);
    put_file("theirs", 0666, "");
    subtest("a limit for each user", limit);
    return done();
}

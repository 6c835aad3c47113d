// needs-root
// Pipes: order, ends, blocking and not, and what is written whole.
#include "../lib/proc.h"
#include "../lib/spork.h"

#include <limits.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

struct ends {
    int in, out; // read from `in` what was written to `out`
};

static struct ends make(int flags) {
    int fd[2];
    need(pipe2(fd, flags) == 0);
    return (struct ends){fd[0], fd[1]};
}

static void drop(struct ends p) {
    close(p.in);
    close(p.out);
}

static void bytes(void) {
    char text[32];
    struct ends p = make(0);
    ok(p.in < p.out, "the reading end is the lower descriptor");
    is(write(p.out, "first", 5), 5, "write");
    is(write(p.out, "second", 6), 6, "and write");
    is(read(p.in, text, 3), 3, "read less than there is");
    is(read(p.in, text + 3, 20), 8, "read more than there is");
    is(memcmp(text, "firstsecond", 11), 0, "the bytes come in order");
    is(write(p.out, "", 0), 0, "a write of nothing");
    is_errno(write(p.in, "x", 1), EBADF, "the reading end is not for writing");
    is_errno(read(p.out, text, 1), EBADF, "nor the writing end for reading");
    is_errno(lseek(p.in, 0, SEEK_CUR), ESPIPE, "there is no place in a pipe");
    is_errno(pread(p.in, text, 1, 0), ESPIPE, "for pread");
    struct stat st;
    need(fstat(p.in, &st) == 0);
    ok(S_ISFIFO(st.st_mode), "stat says that it is one");
    is_errno(pipe2((int[2]){0}, 0x1), EINVAL, "flags that are none");
    drop(p);
}

static void end_of_file(void) {
    char byte;
    struct ends p = make(0);
    need(write(p.out, "x", 1) == 1);
    int copy = dup(p.out);
    close(p.out);
    need(read(p.in, &byte, 1) == 1);
    need(fcntl(p.in, F_SETFL, O_NONBLOCK) == 0);
    is_errno(read(p.in, &byte, 1), EAGAIN, "no end while any writer is left");
    close(copy);
    is(read(p.in, &byte, 1), 0, "the end when the last one is closed");
    is(read(p.in, &byte, 1), 0, "and it stays the end");
    close(p.in);

    signal(SIGPIPE, SIG_IGN);
    p = make(0);
    close(p.in);
    is_errno(write(p.out, "x", 1), EPIPE, "nobody to read: EPIPE");
    close(p.out);
}

static void non_blocking(void) {
    static char block[4096];
    char byte;
    struct ends p = make(O_NONBLOCK);
    is_errno(read(p.in, &byte, 1), EAGAIN, "an empty pipe");
    size_t total = 0;
    ssize_t n;
    while ((n = write(p.out, block, sizeof block)) > 0)
        total += (size_t)n;
    is(errno, EAGAIN, "a full pipe");
    is(total, 65536, "which holds 64 KiB");
    is(fcntl(p.out, F_GETPIPE_SZ), 65536, "as F_GETPIPE_SZ says");
    need(read(p.in, block, 100) == 100);
    is_errno(write(p.out, block, PIPE_BUF), EAGAIN, "a small write is whole or not at all");
    need(read(p.in, block, 4096) == 4096);
    is(write(p.out, block, PIPE_BUF), PIPE_BUF, "with room for it, it is whole");
    int count = 0;
    is(ioctl(p.in, FIONREAD, &count), 0, "FIONREAD");
    is(count, 65536 - 100, "counts what can be read");
    drop(p);
    p = make(O_NONBLOCK);
    need(write(p.out, block, 100) == 100 && read(p.in, block, 100) == 100);
    while (write(p.out, block, sizeof block) > 0)
        ;
    is(fcntl(p.in, F_SETPIPE_SZ, 65536), 65536, "a full pipe may keep its size");
    drop(p);
}

enum { RECORD = 512, RECORDS = 400, WRITERS = 4 };

static struct ends shared;

static void write_records(void* which) {
    char record[RECORD];
    memset(record, 'A' + *(int*)which, RECORD);
    for (int i = 0; i < RECORDS; i++)
        need(write(shared.out, record, RECORD) == RECORD);
}

// Several writers at once, each write at most PIPE_BUF: no two are mixed.
static void atomicity(void) {
    shared = make(0);
    int which[WRITERS] = {0, 1, 2, 3}, of[WRITERS] = {0}, mixed = 0;
    for (int i = 0; i < WRITERS; i++)
        spawn(write_records, &which[i]);
    close(shared.out);
    char record[RECORD];
    for (size_t have = 0;;) {
        ssize_t n = read(shared.in, record + have, RECORD - have);
        need(n >= 0);
        if (n == 0)
            break;
        if ((have += (size_t)n) < RECORD)
            continue;
        have = 0;
        for (int i = 1; i < RECORD; i++)
            mixed += record[i] != record[0];
        of[(record[0] - 'A') & 3]++;
    }
    is(mixed, 0, "records of %d bytes by %d writers are not mixed", RECORD, WRITERS);
    for (int i = 0; i < WRITERS; i++)
        is(of[i], RECORDS, "all of writer %d's have come", i);
    for (int i = 0; i < WRITERS; i++)
        need(wait(NULL) > 0);
}

static void write_big(void* size) {
    static char block[300000];
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (char)(i * 7 % 251);
    need(write(shared.out, block, *(size_t*)size) == (ssize_t) * (size_t*)size);
}

// A write of more than fits sleeps until all of it has been taken.
static void big_write(void) {
    static char block[300000];
    size_t size = sizeof block, have = 0;
    shared = make(0);
    pid_t child = spawn(write_big, &size);
    close(shared.out);
    need(eventually(proc_state(child) == 'S'));
    is(waitpid(child, NULL, WNOHANG), 0, "a writer waits while nobody reads");
    for (ssize_t n; (n = read(shared.in, block + have, size - have)) > 0;)
        have += (size_t)n;
    is(have, size, "the reader gets everything");
    bool same = true;
    for (size_t i = 0; i < size; i++)
        same = same && block[i] == (char)(i * 7 % 251);
    ok(same, "in order");
    is_exit(reap(child), 0, "and the write was whole");
}

static void read_one(void* unused) {
    char byte;
    (void)unused;
    need(read(shared.in, &byte, 1) == 1 && byte == 'w');
}

static void read_end(void* unused) {
    char byte;
    (void)unused;
    close(shared.out);
    need(read(shared.in, &byte, 1) == 0);
}

static void wake_ups(void) {
    shared = make(0);
    pid_t child = spawn(read_one, NULL);
    need(eventually(proc_state(child) == 'S'));
    need(write(shared.out, "w", 1) == 1);
    is_exit(reap(child), 0, "a write wakes a sleeping reader");
    child = spawn(read_end, NULL);
    need(eventually(proc_state(child) == 'S'));
    close(shared.out);
    is_exit(reap(child), 0, "so does the last close");

    shared = make(0);
    size_t size = 300000;
    child = spawn(write_big, &size);
    need(eventually(proc_state(child) == 'S'));
    close(shared.out);
    close(shared.in);
    need(kill(child, 0) == 0);
    // the child has its own copy of the reading end: it goes on waiting, and can be killed
    need(kill(child, SIGKILL) == 0);
    is_killed(reap(child), SIGKILL, "a sleeping writer can be killed");
}

// An end opened anew by its name in /proc, as shells do for <(...): the same pipe, and no waiting.
// O_DIRECT: what one write has written, one read reads.
static void packets(void) {
    static char block[70000];
    struct ends p = make(O_DIRECT | O_NONBLOCK);
    int count = 0;
    is(fcntl(p.out, F_GETFL) & O_DIRECT, O_DIRECT, "a pipe of packets");
    need(write(p.out, "abc", 3) == 3 && write(p.out, "defgh", 5) == 5);
    need(ioctl(p.in, FIONREAD, &count) == 0);
    is(count, 8, "FIONREAD counts bytes");
    is(read(p.in, block, sizeof block), 3, "one packet at a time");
    ok(memcmp(block, "abc", 3) == 0, "the first one");
    is(read(p.in, block, 2), 2, "a short read");
    is_errno(read(p.in, block, 1), EAGAIN, "loses the rest");
    is(write(p.out, block, PIPE_BUF + 10), PIPE_BUF + 10, "a long write");
    is(read(p.in, block, sizeof block), PIPE_BUF, "is cut into packets");
    is(read(p.in, block, sizeof block), 10, "of PIPE_BUF");
    // Without the flag it goes on as a stream, behind the packets.
    need(write(p.out, "xy", 2) == 2 && fcntl(p.out, F_SETFL, O_NONBLOCK) == 0);
    need(write(p.out, "12", 2) == 2 && write(p.out, "34", 2) == 2);
    need(fcntl(p.out, F_SETFL, O_NONBLOCK | O_DIRECT) == 0 && write(p.out, "z", 1) == 1);
    need(ioctl(p.in, FIONREAD, &count) == 0);
    is(count, 7, "streams and packets: FIONREAD");
    is(read(p.in, block, sizeof block), 2, "a packet");
    is(read(p.in, block, 3), 3, "some of a stream");
    ok(memcmp(block, "123", 3) == 0, "of two writes");
    is(read(p.in, block, 1), 1, "its end");
    is(read(p.in, block, sizeof block), 1, "and a packet again");
    is(block[0], 'z', "the last one");
    int n = 0;
    while (write(p.out, "p", 1) == 1)
        n++;
    is(errno, EAGAIN, "it is full");
    is(n, 16, "with a packet for each page");
    is(fcntl(p.out, F_SETPIPE_SZ, 131072), 131072, "a larger one");
    is(write(p.out, block, sizeof block), 65536, "has room for more");
    for (int i = 0; i < 16; i++)
        need(read(p.in, block, sizeof block) == 1 && block[0] == 'p');
    is(read(p.in, block, sizeof block), PIPE_BUF, "in order");
    // A page that a packet has cut short keeps its end when the ring comes round to it.
    drop(p);
    p = make(O_NONBLOCK);
    memset(block, 'a', 100);
    need(write(p.out, block, 100) == 100);
    need(fcntl(p.out, F_SETFL, O_NONBLOCK | O_DIRECT) == 0 && write(p.out, block, 4000) == 4000);
    need(fcntl(p.out, F_SETFL, O_NONBLOCK) == 0 && read(p.in, block, 50) == 50);
    memset(block, 'f', sizeof block);
    long filled = 0, got = 0;
    for (ssize_t more; (more = write(p.out, block, PIPE_BUF + 1)) > 0;)
        filled += more;
    need(read(p.in, block, 50) == 50);
    ok(memchr(block, 'f', 50) == NULL, "the rest of the short page");
    is(read(p.in, block, sizeof block), 4000, "the packet");
    for (ssize_t more; (more = read(p.in, block, sizeof block)) > 0; got += more)
        need(memchr(block, 'a', (size_t)more) == NULL);
    is(got, filled, "and then all that came after it");
    drop(p);
    p = make(O_NONBLOCK);
    need(fcntl(p.out, F_SETPIPE_SZ, 4096) == 4096);
    need(write(p.out, block, 100) == 100 && read(p.in, block, 100) == 100);
    need(fcntl(p.out, F_SETFL, O_NONBLOCK | O_DIRECT) == 0);
    is(write(p.out, block, 4000), 4000, "an empty pipe of one page has room for a packet");
    is(read(p.in, block, sizeof block), 4000, "which comes out");
    int fd = open("/dev/null", O_WRONLY);
    is_errno(fcntl(fd, F_SETFL, O_DIRECT), EINVAL, "a device has none");
    drop(p);
}

// A pipe has no places to read or write at, whatever else may be wrong with the call.
static void no_places(void) {
    struct ends p = make(0);
    char byte = 0;
    struct iovec bad = {(void*)-1L, 1};
    is_errno(pwrite(p.out, &byte, 1, 0), ESPIPE, "pwrite");
    is_errno(pwrite(p.in, &byte, 1, 0), ESPIPE, "even at the other end");
    is_errno(pread(p.in, (void*)-1L, 1, 0), ESPIPE, "pread to nowhere");
    is_errno(pwritev(p.out, &bad, 1, 0), ESPIPE, "pwritev of a bad segment");
    is_errno(preadv(p.in, NULL, 5000, 0), ESPIPE, "preadv of too many");
    is_errno(pwritev(p.out, &bad, 1, -1), EINVAL, "before the start");
    int counter = eventfd(1, 0);
    is_errno(pread(counter, &byte, 1, 0), ESPIPE, "nor has a counter");
    drop(p);
}

static void by_name(void) {
    char name[32], text[8];
    struct ends p = make(0);
    snprintf(name, sizeof name, "/proc/self/fd/%d", p.in);
    need(write(p.out, "before", 6) == 6);
    int again = open(name, O_RDONLY);
    ok(again >= 0, "the reading end is opened anew");
    is(read(again, text, 8), 6, "what was written can be read there");
    snprintf(name, sizeof name, "/dev/fd/%d", p.out);
    int writer = open(name, O_WRONLY);
    ok(writer >= 0 && write(writer, "x", 1) == 1, "and so is the writing end");
    close(p.out);
    close(writer);
    close(again);
    snprintf(name, sizeof name, "/proc/self/fd/%d", p.in);
    again = open(name, O_RDONLY);
    ok(again >= 0, "no writer is left: that, too, opens at once");
    is(read(again, text, 8), 1, "what is left can be read");
    is(read(again, text, 8), 0, "and then the end");
}

static void through_cat(void) {
    struct ends to = make(O_CLOEXEC), from = make(O_CLOEXEC);
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        dup2(to.in, STDIN_FILENO);
        dup2(from.out, STDOUT_FILENO);
        execl("/bin/cat", "cat", NULL);
        _exit(111);
    }
    close(to.in);
    close(from.out);
    char text[8];
    for (int i = 0; i < 200; i++) { // to and fro
        need(write(to.out, "ping", 4) == 4);
        need(read(from.in, text, 4) == 4 && memcmp(text, "ping", 4) == 0);
    }
    close(to.out);
    is(read(from.in, text, 1), 0, "200 times through cat and back, then the end");
    is_exit(reap(child), 0, "which cat saw too");
}

// Who has no other pipe.
static void become_somebody(void) {
    if (geteuid() == 0)
        become(some_user());
}

// What the pipes of one user have room for has a limit. Beyond it they are small.
static void many_pages(void) {
    enum { MIB = 1 << 20, LIMIT = 64 };
    struct ends large[LIMIT];
    become_somebody();
    for (int i = 0; i < LIMIT; i++) {
        large[i] = make(0);
        need(fcntl(large[i].out, F_SETPIPE_SZ, MIB) == MIB);
    }
    struct ends small = make(0);
    is(fcntl(small.out, F_GETPIPE_SZ), 8192, "beyond 64 MiB a new pipe is small");
    is_errno(fcntl(small.out, F_SETPIPE_SZ, 65536), EPERM, "and stays so");
    is(fcntl(small.out, F_SETPIPE_SZ, 4096), 4096, "it can become smaller");
    is_errno(fcntl(small.out, F_SETPIPE_SZ, 8192), EPERM, "but not what it was");
    is(fcntl(large[0].out, F_SETPIPE_SZ, MIB), MIB, "a large one is what it is");
    is(fcntl(large[0].out, F_SETPIPE_SZ, MIB / 2), MIB / 2, "it becomes smaller");
    is(fcntl(small.out, F_SETPIPE_SZ, 65536), 65536, "that leaves room for another");
    drop(small);
    drop(large[1]);
    small = make(0);
    is(fcntl(small.out, F_GETPIPE_SZ), 65536, "as a closed one does");
}

static long setting(const char* name) {
    char path[64], text[32];
    snprintf(path, sizeof path, "/proc/sys/fs/%s", name);
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    need(n > 1 && text[n - 1] == '\n');
    text[n] = 0;
    close(fd);
    return atol(text);
}

static int set(const char* name, const char* value) { // 0 or an errno
    char path[64];
    snprintf(path, sizeof path, "/proc/sys/fs/%s", name);
    int fd = open(path, O_WRONLY);
    if (fd < 0)
        return errno;
    const int wrong = write(fd, value, strlen(value)) < 0 ? errno : 0;
    close(fd);
    return wrong;
}

static void usual_settings(void) {
    const long most = setting("pipe-max-size");
    need(setting("pipe-user-pages-soft") >= 0 && setting("pipe-user-pages-hard") >= 0);
    become_somebody();
    is(set("pipe-max-size", "65536"), EACCES, "root alone sets them");
    struct ends p = make(0);
    is(fcntl(p.out, F_SETPIPE_SZ, most), most, "the largest size");
    is_errno(fcntl(p.out, F_SETPIPE_SZ, most + 1), EPERM, "and no more");
    is(fcntl(p.out, F_SETPIPE_SZ, 0), 4096, "a page is the least");
    is(fcntl(p.out, F_SETPIPE_SZ, 5000), 8192, "powers of two");
    is_errno(fcntl(p.out, F_SETPIPE_SZ, 0x80000001U), EINVAL, "beyond 2 GiB there are none");
}

// Linux's are everybody's there: they are not touched.
static void other_settings(void) {
    static const struct {
        const char *value, *name;
        int answer;
        long then;
    } tries[] = {
        {"5000", "pipe-max-size", 0, 8192},
        {"0", "pipe-max-size", 0, 4096},
        {"2147483648", "pipe-max-size", 0, 2147483648},
        {"2147483649", "pipe-max-size", EINVAL, 2147483648},
        {"x", "pipe-user-pages-soft", EINVAL, 16384},
        {"-1", "pipe-user-pages-soft", EINVAL, 16384},
        {"33", "pipe-user-pages-soft", 0, 33},
        {"40", "pipe-user-pages-hard", 0, 40},
        {"16384", "pipe-max-size", 0, 16384},
    };
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        is(set(tries[i].name, tries[i].value), tries[i].answer, "%s: %s", tries[i].name,
           tries[i].value);
        is(setting(tries[i].name), tries[i].then, "what it is then");
    }
    struct ends p = make(0);
    is(fcntl(p.out, F_GETPIPE_SZ), 65536, "root's pipe");
    is(fcntl(p.out, F_SETPIPE_SZ, 131072), 131072, "as large as it likes");
    pid_t child = fork();
    if (child == 0) {
        become_somebody();
        need(fcntl(p.out, F_SETPIPE_SZ, 65536) == 65536); // made smaller by anybody
        for (int pages = 0; pages < 32; pages += 4)
            need(fcntl(make(0).out, F_GETPIPE_SZ) == 16384); // pipe-max-size
        for (int pages = 32; pages < 40; pages += 2)
            need(fcntl(make(0).out, F_GETPIPE_SZ) == 8192);
        int ends[2];
        need(pipe(ends) < 0 && errno == ENFILE);
        _exit(0);
    }
    is_exit(reap(child), 0, "another's pipes are as large, as small and as many as they may be");
    need(set("pipe-max-size", "65536") == 0 && set("pipe-user-pages-hard", "20") == 0);
    child = fork();
    if (child == 0) {
        become_somebody();
        int ends[2];
        need(fcntl(make(0).out, F_GETPIPE_SZ) == 65536);
        need(pipe(ends) < 0 && errno == ENFILE);
        _exit(0);
    }
    is_exit(reap(child), 0, "a hard limit below the soft one leaves no small ones");
    need(set("pipe-user-pages-hard", "0") == 0 && set("pipe-user-pages-soft", "16384") == 0);
    need(set("pipe-max-size", "1048576") == 0);
}

int main(void) {
    subtest("bytes", bytes);
    subtest("the end", end_of_file);
    subtest("without blocking", non_blocking);
    subtest("small writes are whole", atomicity);
    subtest("big writes", big_write);
    subtest("sleepers wake", wake_ups);
    subtest("packets", packets);
    subtest("no places", no_places);
    subtest("by name", by_name);
    subtest("another program", through_cat);
    subtest("the pages of one user", many_pages);
    subtest("settings", usual_settings);
    if (on_spork())
        subtest("other settings", other_settings);
    return done();
}

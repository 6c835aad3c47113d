// Files: opening, reading, writing, places in them, lengths.
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

static char buffer[100000];

static int new_file(const char* text) {
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    need(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    return fd;
}

static void opening(void) {
    put_file("file", 0600, "contents");
    is_errno(open("none", O_RDONLY), ENOENT, "a file that is not there");
    is_errno(open("none/below", O_RDONLY | O_CREAT, 0600), ENOENT, "in a folder that is not there");
    is_errno(open("file/below", O_RDONLY), ENOTDIR, "below a file");
    is_errno(open("file", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST, "O_EXCL: there is one already");
    is_errno(open("file", O_RDONLY | O_DIRECTORY), ENOTDIR, "O_DIRECTORY: it is none");
    is_errno(open(".", O_WRONLY), EISDIR, "a folder cannot be written");
    is_errno(open(".", O_RDWR | O_CREAT, 0600), EISDIR, "nor created as a file");
    need(symlink("file", "link") == 0 && symlink("made", "dangling") == 0);
    is_errno(open("link", O_RDONLY | O_NOFOLLOW), ELOOP, "O_NOFOLLOW: it is a link");
    is_errno(open("dangling", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST,
             "O_EXCL does not follow a link");
    int fd = open("dangling", O_RDWR | O_CREAT, 0600);
    ok(fd >= 0 && access("made", F_OK) == 0, "O_CREAT makes the file that a link points to");
    fd = open("file", O_RDONLY);
    is(read(fd, buffer, 100), 8, "a file opened for reading");
    is_errno(write(fd, "x", 1), EBADF, "is not for writing");
    fd = open("file", O_WRONLY);
    is_errno(read(fd, buffer, 1), EBADF, "nor the other way round");
    fd = open("file", O_RDWR | O_TRUNC);
    is(lseek(fd, 0, SEEK_END), 0, "O_TRUNC leaves nothing");
    fd = open(".", O_RDONLY);
    is_errno(read(fd, buffer, 1), EISDIR, "a folder is not read as a file");
    int below = openat(fd, "file", O_RDONLY);
    ok(below >= 0, "openat starts at the folder");
    is_errno(openat(below, "file", O_RDONLY), ENOTDIR, "which must be one");
    is_errno(openat(-5, "file", O_RDONLY), EBADF, "and open");
    is_errno(open("file/", O_RDONLY), ENOTDIR, "a slash at the end wants a folder");
}

static void places(void) {
    int fd = new_file("0123456789");
    is(lseek(fd, 4, SEEK_SET), 4, "SEEK_SET");
    is(lseek(fd, 2, SEEK_CUR), 6, "SEEK_CUR");
    is(lseek(fd, -3, SEEK_END), 7, "SEEK_END");
    is_errno(lseek(fd, -8, SEEK_CUR), EINVAL, "before the start");
    is_errno(lseek(fd, 0, 99), EINVAL, "from nowhere");
    need(read(fd, buffer, 2) == 2);
    is(memcmp(buffer, "78", 2), 0, "read goes on from there");
    is(pread(fd, buffer, 3, 1), 3, "pread");
    is(memcmp(buffer, "123", 3), 0, "reads where it is told");
    is(pwrite(fd, "XY", 2, 0), 2, "pwrite");
    is(lseek(fd, 0, SEEK_CUR), 9, "neither moves the place");
    is(read(fd, buffer, 100), 1, "a read near the end is short");
    is(read(fd, buffer, 100), 0, "at the end it is 0");
    is_str(get_file("file"), "XY23456789", "all of it");
}

static void holes(void) {
    int fd = new_file("start");
    is(lseek(fd, 50000, SEEK_SET), 50000, "beyond the end");
    is(lseek(fd, 0, SEEK_END), 5, "does not make it longer");
    is(pwrite(fd, "end", 3, 50000), 3, "a write there does");
    is(lseek(fd, 0, SEEK_END), 50003, "to where it ends");
    is(pread(fd, buffer, sizeof buffer, 0), 50003, "it can be read");
    bool zero = true;
    for (int i = 5; i < 50000; i++)
        zero = zero && buffer[i] == 0;
    ok(zero, "with zeros between");
    is(memcmp(buffer, "start", 5) | memcmp(buffer + 50000, "end", 3), 0, "and the two pieces");
}

// The file systems of Linux that know holes know them by blocks, of a page at most.
static void hole_places(void) {
    enum { PAGE = 4096, FAR = 16 * PAGE };
    int fd = new_file("");
    need(ftruncate(fd, 2 * FAR) == 0);
    is(lseek(fd, 0, SEEK_HOLE), 0, "a file that was only made longer is a hole");
    is_errno(lseek(fd, 0, SEEK_DATA), ENXIO, "with no data");
    need(pwrite(fd, "data", 4, FAR) == 4 && pwrite(fd, "more", 4, FAR + PAGE) == 4);
    is(lseek(fd, 0, SEEK_DATA), FAR, "data are where they were written");
    is(lseek(fd, FAR + 5, SEEK_DATA), FAR + 5, "and here, when it is there");
    is(lseek(fd, FAR, SEEK_HOLE), FAR + 2 * PAGE, "the hole is behind them");
    is(lseek(fd, 7, SEEK_HOLE), 7, "or here");
    is_errno(lseek(fd, FAR + 2 * PAGE, SEEK_DATA), ENXIO, "there are no more");
    is_errno(lseek(fd, 2 * FAR, SEEK_HOLE), ENXIO, "the end is no place");
    is_errno(lseek(fd, -1, SEEK_DATA), ENXIO, "nor is what lies before the start");
    need(pwrite(fd, "x", 1, 2 * FAR - 1) == 1);
    is(lseek(fd, 2 * FAR - 1, SEEK_HOLE), 2 * FAR, "behind the last byte is a hole");
    struct stat before, after;
    need(fstat(fd, &before) == 0);
    is(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FAR + 2, 2 * PAGE - 3), 0,
       "a hole is made");
    need(fstat(fd, &after) == 0);
    is((long)after.st_size, 2 * FAR, "in a file of the same length");
    is(pread(fd, buffer, 2 * PAGE, FAR), 2 * PAGE, "what was there");
    is(memcmp(buffer, "da\0\0", 4) | buffer[PAGE] | buffer[PAGE + 3], 0, "reads as zeros");
    is(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FAR, 3 * PAGE), 0, "a larger one");
    is(lseek(fd, 0, SEEK_DATA), 2 * FAR - PAGE, "gives the pages back");
    is_errno(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, PAGE), EOPNOTSUPP, "the length is always kept");
    need(ftruncate(fd, 10) == 0);
    is(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 4 * PAGE), 0, "room for what comes");
    need(fstat(fd, &after) == 0);
    is((long)after.st_size, 10, "does not make the file longer");
    ok(after.st_blocks >= 4 * PAGE / 512, "but is there");
    is(pread(fd, buffer, 100, 0), 10, "and not read");
    need(ftruncate(fd, 3 * PAGE) == 0 && pread(fd, buffer, 3 * PAGE, 0) == 3 * PAGE);
    is(buffer[10] | buffer[PAGE] | buffer[3 * PAGE - 1], 0, "later it is zeros");
}

// A write that meets a bad address has written what came before it, and no more.
static void bad_buffers(void) {
    enum { PAGE = 4096 };
    char* pages = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(pages != MAP_FAILED && munmap(pages + 2 * PAGE, PAGE) == 0);
    memset(pages, 'p', 2 * PAGE);
    int fd = new_file("1234567890");
    is_errno(write(fd, pages + 2 * PAGE, PAGE), EFAULT, "nothing can be read");
    is(lseek(fd, 0, SEEK_END), 10, "nothing is written");
    long written = pwrite(fd, pages + PAGE / 2, 3 * PAGE, 3);
    ok(written > 0 && written <= PAGE * 3 / 2, "what can be read is written, or some of it");
    is(lseek(fd, 0, SEEK_END), written + 3, "and the file ends there");
    need(ftruncate(fd, 4 * PAGE) == 0);
    need(pread(fd, buffer, 4 * PAGE, 0) == 4 * PAGE);
    bool zero = true;
    for (long i = written + 3; i < 4 * PAGE; i++)
        zero = zero && buffer[i] == 0;
    ok(zero, "with nothing behind it");
}

// Who sees that a file has grown sees what it has grown by.
static void growing(void) {
    enum { CHUNK = 65536, CHUNKS = 60 };
    int fd = new_file("");
    pid_t writer = fork();
    need(writer >= 0);
    if (writer == 0) {
        char* chunk = malloc(CHUNK);
        int end = open("file", O_WRONLY | O_APPEND);
        memset(chunk, 'x', CHUNK);
        for (int i = 0; i < CHUNKS; i++)
            need(write(end, chunk, CHUNK) == CHUNK);
        _exit(0);
    }
    off_t seen = 0;
    bool whole = true;
    while (seen < CHUNK * CHUNKS && whole) {
        ssize_t n = pread(fd, buffer, sizeof buffer, seen);
        need(n >= 0);
        whole = memchr(buffer, 0, (size_t)n) == NULL;
        seen += n;
        struct stat st;
        need(fstat(fd, &st) == 0);
        if (st.st_size > 0 && whole) {
            need(pread(fd, buffer, 1, st.st_size - 1) == 1);
            whole = buffer[0] == 'x';
        }
    }
    ok(whole, "a reader never sees what has not been written yet");
    int status;
    need(waitpid(writer, &status, 0) == writer);
    is(status, 0, "the writer");
}

static void lengths(void) {
    int fd = new_file("0123456789");
    is(ftruncate(fd, 4), 0, "cut");
    is_str(get_file("file"), "0123", "to four bytes");
    is(ftruncate(fd, 8), 0, "made longer");
    is(pread(fd, buffer, 100, 0), 8, "to eight");
    is(memcmp(buffer, "0123\0\0\0\0", 8), 0, "with zeros, not with what was cut off");
    is(lseek(fd, 0, SEEK_CUR), 10, "the place stays where it was");
    is(write(fd, "x", 1), 1, "so that a write leaves a gap");
    is(lseek(fd, 0, SEEK_END), 11, "behind the end");
    int readable = open("file", O_RDONLY);
    is_errno(ftruncate(readable, 0), EINVAL, "not with a descriptor for reading");
}

static void append(void) {
    int fd = new_file("12345");
    int end = open("file", O_WRONLY | O_APPEND);
    is(write(end, "67", 2), 2, "O_APPEND writes at the end");
    need(pwrite(fd, "longer still", 12, 0) == 12);
    lseek(end, 0, SEEK_SET);
    is(write(end, "!", 1), 1, "wherever that is by now");
    is_str(get_file("file"), "longer still!", "and wherever the place was");

    // Two processes append at the same time: nothing is overwritten.
    enum { EACH = 300 };
    fd = open("log", O_WRONLY | O_APPEND | O_CREAT, 0600);
    pid_t child = fork();
    int mine = open("log", O_WRONLY | O_APPEND);
    for (int i = 0; i < EACH; i++)
        need(write(mine, child == 0 ? "c" : "p", 1) == 1);
    if (child == 0)
        _exit(0);
    is_exit(reap(child), 0, "two processes append");
    int counts[2] = {0, 0};
    for (const char* c = get_file("log"); *c != 0; c++)
        counts[*c == 'c']++;
    ok(counts[0] == EACH && counts[1] == EACH, "and every byte of both is there");
}

static void vectors(void) {
    int fd = new_file("");
    struct iovec out[4] = {{"one", 3}, {"", 0}, {"two", 3}, {"three", 5}};
    is(writev(fd, out, 4), 11, "writev");
    is_str(get_file("file"), "onetwothree", "gathers");
    char first[4], second[20];
    struct iovec in[2] = {{first, 4}, {second, 20}};
    lseek(fd, 0, SEEK_SET);
    is(readv(fd, in, 2), 11, "readv");
    is(memcmp(first, "onet", 4) | memcmp(second, "wothree", 7), 0, "scatters");
}

static void big(void) {
    int fd = new_file("");
    for (size_t i = 0; i < sizeof buffer; i++)
        buffer[i] = (char)(i * 31 % 253);
    for (int i = 0; i < 10; i++)
        need(write(fd, buffer, sizeof buffer) == sizeof buffer);
    is(lseek(fd, 0, SEEK_END), 1000000, "a file of a million bytes");
    bool same = true;
    static char piece[777];
    lseek(fd, 0, SEEK_SET);
    size_t at = 0;
    for (ssize_t n; (n = read(fd, piece, sizeof piece)) > 0; at += (size_t)n)
        for (ssize_t i = 0; i < n; i++)
            same = same && piece[i] == (char)((at + (size_t)i) % sizeof buffer * 31 % 253);
    ok(same && at == 1000000, "is read back as it was, in odd pieces");
}

static void send(void) {
    int fd = new_file("sent without a buffer"), ends[2];
    need(pipe(ends) == 0);
    off_t from = 5;
    is(sendfile(ends[1], fd, &from, 7), 7, "sendfile from an offset");
    is(from, 12, "moves the offset");
    is(lseek(fd, 0, SEEK_CUR), 21, "and not the place in the file");
    lseek(fd, 0, SEEK_SET);
    is(sendfile(ends[1], fd, NULL, 100), 21, "without an offset, to the end");
    is(lseek(fd, 0, SEEK_CUR), 21, "it moves the place");
    is(read(ends[0], buffer, 100), 28, "all has arrived");
    is(memcmp(buffer, "withoutsent without", 19), 0, "as it was");
    is(sendfile(ends[1], fd, NULL, 100), 0, "at the end there is nothing to send");
}

static void devices(void) {
    int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDWR);
    int full = open("/dev/full", O_RDWR), random = open("/dev/urandom", O_RDONLY);
    need(null >= 0 && zero >= 0 && full >= 0 && random >= 0);
    is(read(null, buffer, 10), 0, "/dev/null is empty");
    is(write(null, buffer, 10), 10, "and takes all");
    memset(buffer, 1, 5000);
    is(read(zero, buffer, 5000), 5000, "/dev/zero gives as much as is asked");
    unsigned any = 0;
    for (int i = 0; i < 5000; i++)
        any |= (unsigned char)buffer[i];
    is(any, 0, "all zeros");
    is_errno(write(full, buffer, 1), ENOSPC, "/dev/full is full");
    is(read(random, buffer, 32) + read(random, buffer + 32, 32), 64, "/dev/urandom");
    ok(memcmp(buffer, buffer + 32, 32) != 0, "does not repeat itself");
}

int main(void) {
    scratch_begin();
    subtest("open", opening);
    subtest("places", places);
    subtest("holes", holes);
    subtest("places of holes", hole_places);
    subtest("bad buffers", bad_buffers);
    subtest("growing", growing);
    subtest("lengths", lengths);
    subtest("O_APPEND", append);
    subtest("vectors", vectors);
    subtest("a big file", big);
    subtest("sendfile", send);
    subtest("devices", devices);
    return done();
}

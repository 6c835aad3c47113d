// Bytes from file to file, and files that are their own buffer.
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

enum { SIZE = 200000 };

static char byte_at(size_t i) { return (char)(i * 13 + i / 251); }

// A file of SIZE bytes that all differ from their neighbours.
static int make(const char* name) {
    static char block[SIZE];
    for (size_t i = 0; i < SIZE; i++)
        block[i] = byte_at(i);
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    need(fd >= 0 && write(fd, block, SIZE) == SIZE && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static bool right(int fd, size_t at, size_t from, size_t size) {
    static char block[SIZE];
    if (pread(fd, block, size, (off_t)at) != (ssize_t)size)
        return false;
    for (size_t i = 0; i < size; i++)
        if (block[i] != byte_at(from + i))
            return false;
    return true;
}

static void sending(void) {
    int from = make("from"), to = open("to", O_RDWR | O_CREAT, 0600);
    is(sendfile(to, from, NULL, 1000), 1000, "sendfile");
    is(lseek(from, 0, SEEK_CUR), 1000, "moves the source's place");
    off_t offset = 150000;
    is(sendfile(to, from, &offset, SIZE), 50000, "from a place of its own, to the end");
    is(offset, SIZE, "which moves");
    is(lseek(from, 0, SEEK_CUR), 1000, "while the file's does not");
    ok(right(to, 0, 0, 1000) && right(to, 1000, 150000, 50000), "the bytes are there");
    int p[2];
    need(pipe(p) == 0);
    is_errno(sendfile(to, p[0], NULL, 1), EINVAL, "a pipe is no source");
    need(fcntl(p[1], F_SETFL, O_NONBLOCK) == 0);
    ssize_t sent = sendfile(p[1], from, NULL, SIZE);
    ok(sent > 60000 && sent <= 65536, "into a pipe, as far as there is room");
    is(lseek(from, 0, SEEK_CUR), 1000 + sent, "and no further");
    is_errno(sendfile(from, to, (off_t*)8, 1), EFAULT, "a bad pointer");
}

static void ranges(void) {
    int from = make("from"), to = open("to2", O_RDWR | O_CREAT, 0600);
    off_t a = 5, b = 100;
    is(copy_file_range(from, &a, to, &b, 70000, 0), 70000, "copy_file_range");
    ok(a == 70005 && b == 70100, "both places move");
    ok(right(to, 100, 5, 70000), "the bytes are there");
    is(copy_file_range(from, NULL, to, NULL, 10, 0), 10, "at the files' own places");
    is(lseek(to, 0, SEEK_CUR), 10, "which move");
    a = 0, b = 5;
    is_errno(copy_file_range(from, &a, from, &b, 10, 0), EINVAL, "over itself");
    is_errno(copy_file_range(from, &a, to, &b, 10, 1), EINVAL, "a flag");
    a = SIZE;
    is(copy_file_range(from, &a, to, &b, 10, 0), 0, "at the end there is nothing");
}

// The buffer of a read or a write is a mapping of the same file: the copy faults on the page that
// it copies.
static void own_buffer(void) {
    int fd = make("own");
    char* map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    need(map != MAP_FAILED);
    is(pwrite(fd, map, 8192, 100000), 8192, "write from the file's own mapping");
    ok(right(fd, 100000, 0, 8192), "copies");
    is(pwrite(fd, map + 100, 50, 100), 50, "the very same bytes");
    ok(right(fd, 0, 0, 50000), "are as they were");
    is(pread(fd, map + 40960, 8192, 100000), 8192, "read into the file's own mapping");
    ok(right(fd, 40960, 0, 8192), "copies too");
    need(ftruncate(fd, 300000) == 0);
    char* more = mmap(NULL, 300000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    need(more != MAP_FAILED);
    is(pwrite(fd, more + 250000, 20000, 200000), 20000, "from a hole into a hole");
    ok(more[200000] == 0 && more[219999] == 0, "zeros");
}

static void limits(void) {
    signal(SIGXFSZ, SIG_IGN);
    int fd = open("limited", O_RDWR | O_CREAT, 0600);
    struct rlimit limit = {1000, 1000};
    need(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    char block[600] = "";
    is(write(fd, block, sizeof block), 600, "below RLIMIT_FSIZE");
    is(write(fd, block, sizeof block), 400, "up to it");
    is_errno(write(fd, block, 1), EFBIG, "and not beyond");
    is_errno(ftruncate(fd, 1001), EFBIG, "by ftruncate either");
    is(ftruncate(fd, 1000), 0, "which may reach it");
    is_errno(pwrite(fd, block, 1, INT64_MAX), EINVAL, "where no number reaches");
}

// A write that runs into a bad address keeps what came before.
static void half_bad(void) {
    char* pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(pages != MAP_FAILED && munmap(pages + 4096, 4096) == 0);
    memset(pages, 'p', 4096);
    int fd = open("half", O_RDWR | O_CREAT, 0600);
    is_errno(write(fd, pages + 4096, 10), EFAULT, "nothing of a bad buffer");
    struct stat st;
    need(fstat(fd, &st) == 0);
    is(st.st_size, 0, "and the file has not grown");
    is(lseek(fd, 0, SEEK_CUR), 0, "nor its place moved");
    struct iovec v[2] = {{pages, 100}, {pages + 4096, 100}};
    is(writev(fd, v, 2), 100, "writev: what comes before the bad one");
    need(fstat(fd, &st) == 0);
    is(st.st_size, 100, "is in the file");
}

int main(void) {
    scratch_begin();
    subtest("sendfile", sending);
    subtest("copy_file_range", ranges);
    subtest("a file as its own buffer", own_buffer);
    subtest("limits", limits);
    subtest("half a buffer", half_bad);
    return done();
}

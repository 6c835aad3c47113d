// Mappings of files: shared ones are the file, private ones begin as the file. read(2) and write(2)
// see the same pages.
#include "../lib/fault.h"
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <sys/mman.h>

enum { PAGE = 4096, RW = PROT_READ | PROT_WRITE };

// A file of `pages` pages, the n-th of them full of the letter 'a' + n.
static int make_file(const char* name, int pages) {
    char page[PAGE];
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    need(fd >= 0);
    for (int i = 0; i < pages; i++) {
        memset(page, 'a' + i, PAGE);
        need(write(fd, page, PAGE) == PAGE);
    }
    return fd;
}

static char* map_file(int fd, int pages, int protection, int flags, off_t offset) {
    char* at = mmap(NULL, (size_t)pages * PAGE, protection, flags, fd, offset);
    need(at != MAP_FAILED);
    return at;
}

static char file_byte(int fd, off_t at) {
    char byte = 0;
    need(pread(fd, &byte, 1, at) == 1);
    return byte;
}

static void shared(void) {
    int fd = make_file("shared", 4);
    char *at = map_file(fd, 4, RW, MAP_SHARED, 0), *again = map_file(fd, 2, RW, MAP_SHARED, PAGE);
    is(at[0], 'a', "the first page");
    is(at[3 * PAGE + 5], 'd', "the last page");
    is(again[0], 'b', "a mapping at an offset");
    at[PAGE] = 'S';
    is(file_byte(fd, PAGE), 'S', "read sees a store at once");
    is(again[0], 'S', "and so does the other mapping");
    need(pwrite(fd, "W", 1, PAGE + 1) == 1);
    is(at[PAGE + 1], 'W', "a mapping sees a write at once");
    is(msync(at, 4 * PAGE, MS_SYNC), 0, "msync");
    need(close(fd) == 0);
    again[2] = 'C';
    is(at[PAGE + 2], 'C', "the mappings outlive the descriptor");
    need(munmap(at, 4 * PAGE) == 0 && munmap(again, 2 * PAGE) == 0);
    fd = open("shared", O_RDONLY);
    is(file_byte(fd, PAGE + 2), 'C', "and the file keeps what was stored");
}

static void private(void) {
    int fd = make_file("private", 4);
    char* at = map_file(fd, 4, RW, MAP_PRIVATE, 0);
    need(pwrite(fd, "W", 1, 0) == 1);
    is(at[0], 'W', "a page that was not stored to is the file's");
    at[PAGE] = 'P';
    is(file_byte(fd, PAGE), 'b', "a store does not reach the file");
    is(at[PAGE + 1], 'b', "and has the rest of the page with it");
    need(pwrite(fd, "X", 1, PAGE + 1) == 1);
    is(at[PAGE + 1], 'b', "after it the page is the mapping's own");

    int readable = open("private", O_RDONLY);
    char* other = map_file(readable, 1, RW, MAP_PRIVATE, 0);
    other[0] = 'r';
    is(other[0], 'r', "a file open for reading can be mapped private and stored to");
    is(file_byte(fd, 0), 'W', "and is not changed");
}

static void after_fork(void) {
    int fd = make_file("forked", 2);
    char *mine = map_file(fd, 2, RW, MAP_PRIVATE, 0), *ours = map_file(fd, 2, RW, MAP_SHARED, 0);
    mine[0] = '1';
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        need(mine[0] == '1' && mine[PAGE] == 'b');
        mine[0] = '2';
        mine[PAGE] = '3';
        ours[PAGE + 1] = '4';
        _exit(0);
    }
    is_exit(reap(child), 0, "the child has both mappings");
    is(mine[0], '1', "its stores in the private one are its own");
    is(mine[PAGE], 'b', "in pages not yet copied too");
    is(ours[PAGE + 1], '4', "its stores in the shared one are seen");
    is(mine[PAGE + 1], '4', "and are in the private one's pages that are still the file's");
}

static void ends(void) {
    int fd = make_file("ends", 1);
    need(ftruncate(fd, 100) == 0);
    char* at = map_file(fd, 1, RW, MAP_SHARED, 0);
    is(at[99], 'a', "the last byte of a short file");
    is(at[100], 0, "behind it are zeros");
    at[200] = 'z';
    need(ftruncate(fd, 300) == 0);
    is(file_byte(fd, 99), 'a', "a file that grows keeps what it has");
    is(lseek(fd, 0, SEEK_END), 300, "a store behind the end does not make it longer");
    need(ftruncate(fd, 10) == 0 && ftruncate(fd, PAGE) == 0);
    is(at[50], 0, "what a truncation cut off is zero when the file grows again");
}

static void cut_off(void) {
    int fd = make_file("cut", 3);
    char* shared = map_file(fd, 3, RW, MAP_SHARED, 0);
    char* private = map_file(fd, 3, RW, MAP_PRIVATE, 0);
    for (int i = 0; i < 3; i++)
    private[i * PAGE + 1] = 'p';
    shared[PAGE + 200] = 's';
    pid_t child = fork();
    if (child == 0) { // the copies of both, and one of its own
        private[2 * PAGE + 1] = 'c';
        need(ftruncate(fd, PAGE + 100) == 0);
        _exit(load_fault(private + 2 * PAGE).signo);
    }
    is_exit(reap(child), SIGBUS, "what a truncation cuts off is gone from the child");
    is_fault(load_fault(shared + 2 * PAGE), SIGBUS, BUS_ADRERR, shared + 2 * PAGE,
             "from a shared mapping");
    is_fault(store_fault(private + 2 * PAGE + 1), SIGBUS, BUS_ADRERR, private + 2 * PAGE + 1,
             "and from a private one, with what was stored there");
    is(shared[PAGE + 99], 'b', "a page that is left in part keeps that");
    is(shared[PAGE + 200], 0, "and is zeros from there on");
    is(private[PAGE + 1], 'p', "the private copy of it is whole");
    need(ftruncate(fd, 3 * PAGE) == 0);
    is(private[2 * PAGE + 1], 0, "a file that grows again has zeros for the private mapping");
    private[2 * PAGE + 1] = 'q';
    is(shared[2 * PAGE + 1], 0, "which may be copied again");
}

// Two mappings of one file that lie side by side become one.
static void joined(void) {
    int fd = make_file("joined", 3);
    char* at = map_file(fd, 3, PROT_READ, MAP_PRIVATE, 0);
    need(munmap(at + PAGE, PAGE) == 0);
    need(mmap(at + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, PAGE) == at + PAGE);
    need(close(fd) == 0);
    ok(at[0] == 'a' && at[PAGE] == 'b' && at[2 * PAGE] == 'c', "a hole that is mapped again");
    is(munmap(at, 3 * PAGE), 0, "all is unmapped at once");
}

static void errors(void) {
    int fd = make_file("errors", 1), readable = open("errors", O_RDONLY), pipes[2];
    int writable = open("errors", O_WRONLY);
    need(fd >= 0 && readable >= 0 && writable >= 0 && pipe(pipes) == 0);
    is_errno(mmap(NULL, PAGE, RW, MAP_SHARED, readable, 0), EACCES,
             "shared and writable of a file open for reading");
    is_errno(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, writable, 0), EACCES,
             "any of a file open for writing alone");
    is_errno(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 100), EINVAL, "an offset within a page");
    is_errno(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, pipes[0], 0), ENODEV, "a pipe");
    int folder = open(".", O_RDONLY);
    is_errno(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, folder, 0), ENODEV, "a folder");
    char* at = map_file(readable, 1, PROT_READ, MAP_SHARED, 0);
    is_errno(mprotect(at, PAGE, RW), EACCES, "mprotect beyond what the descriptor allows");
}

static void unlinked(void) {
    int fd = make_file("unlinked", 2);
    char* at = map_file(fd, 2, RW, MAP_SHARED, 0);
    need(unlink("unlinked") == 0 && close(fd) == 0);
    at[0] = 'u';
    is(at[0] + at[PAGE], 'u' + 'b', "a file without a name lives as long as its mapping");
}

static void executable(void) {
    static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; // mov $42, %eax; ret
    int fd = open("code", O_RDWR | O_CREAT, 0700);
    need(fd >= 0 && write(fd, code, sizeof code) == sizeof code);
    char* at = map_file(fd, 1, PROT_READ | PROT_EXEC, MAP_PRIVATE, 0);
    is(((int (*)(void))(uintptr_t)at)(), 42, "code in a file runs");
}

// Kernel copies into and out of mappings: the file is both ends of the transfer.
static void copies(void) {
    int fd = make_file("copies", 4);
    char* at = map_file(fd, 4, RW, MAP_SHARED, 0);
    is(pread(fd, at + 2 * PAGE, PAGE, 0), PAGE, "read into a mapping of the same file");
    is(file_byte(fd, 2 * PAGE + 9), 'a', "is in the file");
    is(pwrite(fd, at + PAGE, PAGE, 3 * PAGE), PAGE, "write from a mapping of the same file");
    is(at[3 * PAGE + 9], 'b', "is in the mapping");
}

int main(void) {
    fault_catch(0);
    scratch_begin();
    subtest("shared", shared);
    subtest("private", private);
    subtest("after fork", after_fork);
    subtest("the end of the file", ends);
    subtest("truncation", cut_off);
    subtest("side by side", joined);
    subtest("errors", errors);
    subtest("without a name", unlinked);
    subtest("code", executable);
    subtest("copies within a file", copies);
    return done();
}

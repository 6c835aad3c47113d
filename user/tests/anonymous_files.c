// Files without a name: memfd, eventfd, files that were unlinked, descriptors opened again by
// /proc.
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

enum { SYS_CLOSE_RANGE = 436, CLOEXEC_ONLY = 4 }; // newer than some C libraries

static void memory_files(void) {
    int fd = memfd_create("some name", MFD_CLOEXEC);
    ok(fd >= 0, "memfd_create");
    is(fcntl(fd, F_GETFD), FD_CLOEXEC, "closed on exec");
    need(write(fd, "hello", 5) == 5);
    char* map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ok(map != MAP_FAILED && memcmp(map, "hello", 6) == 0, "mapped");
    need(ftruncate(fd, 3) == 0);
    is(map[3], 0, "truncated under the mapping");
    char link[64] = "", path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    need(readlink(path, link, sizeof link - 1) > 0);
    ok(strcmp(link, "/memfd:some name (deleted)") == 0, "its name in /proc");
    int again = open(path, O_RDONLY);
    char text[8];
    is(read(again, text, sizeof text), 3, "opened again, with a place of its own");
    is_errno(write(again, "x", 1), EBADF, "and rights of its own");
    char* long_name = malloc(300);
    memset(long_name, 'n', 299);
    long_name[299] = 0;
    is_errno(memfd_create(long_name, 0), EINVAL, "a name that is too long");
    is_errno(memfd_create("x", 0x80000000u), EINVAL, "flags that are none");
}

static int sealed(int seals, int size) {
    int fd = memfd_create("sealed", MFD_ALLOW_SEALING);
    need(fd >= 0 && ftruncate(fd, size) == 0 && fcntl(fd, F_ADD_SEALS, seals) == 0);
    return fd;
}

static void seals(void) {
    enum { PAGE = 4096, RW = PROT_READ | PROT_WRITE };
    static char block[4 * PAGE];
    int fd = memfd_create("m", 0);
    is(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL, "a memory file is not to be sealed");
    is_errno(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EPERM, "unless it was made for that");
    fd = memfd_create("m", MFD_ALLOW_SEALING);
    is(fcntl(fd, F_GET_SEALS), 0, "one that was has no seals at first");
    is_errno(fcntl(fd, F_ADD_SEALS, 0x4000), EINVAL, "a seal that is none");
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int readable = open(path, O_RDONLY);
    is_errno(fcntl(readable, F_ADD_SEALS, F_SEAL_GROW), EPERM, "only who may write may seal");
    int ends[2];
    need(pipe(ends) == 0);
    is_errno(fcntl(ends[1], F_GET_SEALS), EINVAL, "a pipe has no seals");
    is_errno(fcntl(ends[1], F_ADD_SEALS, F_SEAL_GROW), EINVAL, "and gets none");

    fd = sealed(F_SEAL_SHRINK, 2 * PAGE);
    is_errno(ftruncate(fd, PAGE), EPERM, "F_SEAL_SHRINK: no shorter");
    is(ftruncate(fd, 3 * PAGE), 0, "but longer");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    is_errno(open(path, O_RDWR | O_TRUNC), EPERM, "nor by opening it");

    fd = sealed(F_SEAL_GROW, PAGE + 100);
    is_errno(ftruncate(fd, 2 * PAGE), EPERM, "F_SEAL_GROW: no longer");
    is_errno(fallocate(fd, 0, 0, 2 * PAGE), EPERM, "by no call");
    is(pwrite(fd, block, sizeof block, 0), PAGE, "a write stops before the page it would grow by");
    is_errno(pwrite(fd, block, 200, PAGE), EPERM, "or does not begin");
    is(pwrite(fd, block, 100, PAGE), 100, "what is there is written over");
    is(ftruncate(fd, PAGE), 0, "and cut");

    fd = sealed(0, 2 * PAGE);
    char* at = mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0);
    need(at != MAP_FAILED);
    is_errno(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY, "not while it is mapped for writing");
    need(mprotect(at, PAGE, PROT_READ) == 0);
    is_errno(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY, "or may be made writable");
    is(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0, "F_SEAL_FUTURE_WRITE lets that be");
    need(mprotect(at, PAGE, RW) == 0);
    at[0] = 'm';
    is_errno(pwrite(fd, "x", 1, 0), EPERM, "but nothing is written any more");
    is_errno(mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0, EPERM,
             "nor mapped to be");
    char* later = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    ok(later != MAP_FAILED && later[0] == 'm', "it is mapped for reading");
    is_errno(mprotect(later, PAGE, RW), EACCES, "for good");
    need(munmap(at, PAGE) == 0);
    is(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL), 0, "F_SEAL_WRITE comes after all");
    is_errno(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), EPERM,
             "and there is no other way");
    at = mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, 0);
    ok(at != MAP_FAILED, "a private mapping");
    at[0] = 'p';
    is(later[0], 'm', "is no way in");
    is_errno(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), EPERM, "F_SEAL_SEAL: it stays as it is");
    is(fcntl(fd, F_GET_SEALS), F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL, "which is told");
}

static void counters(void) {
    uint64_t value = 0;
    int fd = eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC);
    ok(fd >= 0, "eventfd");
    is(read(fd, &value, 8), 8, "reading");
    is((long)value, 3, "gives the sum");
    is_errno(read(fd, &value, 8), EAGAIN, "and leaves nothing");
    struct pollfd p = {fd, POLLIN | POLLOUT, 0};
    is(poll(&p, 1, 0), 1, "poll");
    is(p.revents, POLLOUT, "knows");
    value = 4;
    need(write(fd, &value, 8) == 8 && write(fd, &value, 8) == 8);
    need(read(fd, &value, 8) == 8);
    is((long)value, 8, "writes add up");
    value = UINT64_MAX;
    is_errno(write(fd, &value, 8), EINVAL, "a number too large");
    value = UINT64_MAX - 1;
    need(write(fd, &value, 8) == 8);
    value = 1;
    is_errno(write(fd, &value, 8), EAGAIN, "the counter is full");
    is_errno(read(fd, &value, 4), EINVAL, "half a number");
    fd = eventfd(2, EFD_SEMAPHORE);
    need(read(fd, &value, 8) == 8 && value == 1 && read(fd, &value, 8) == 8);
    is((long)value, 1, "as a semaphore, one at a time");
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        value = 1;
        need(write(fd, &value, 8) == 8);
        _exit(0);
    }
    is(read(fd, &value, 8), 8, "a reader waits for a writer");
    need(waitpid(child, NULL, 0) == child);
}

static void unlinked(void) {
    put_file("file", 0600, "still here");
    int fd = open("file", O_RDWR);
    need(unlink("file") == 0);
    char text[16] = "", path[64], link[PATH_MAX] = "";
    is(read(fd, text, sizeof text), 10, "an unlinked file is read");
    struct stat st;
    need(fstat(fd, &st) == 0);
    is((long)st.st_nlink, 0, "without a link");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    need(readlink(path, link, sizeof link - 1) > 0);
    ok(strstr(link, " (deleted)") != NULL, "/proc says so");
    int again = open(path, O_RDWR);
    ok(again >= 0 && write(again, "S", 1) == 1, "and opens it");
    is(pread(fd, text, 1, 0), 1, "the same file");
    is(text[0], 'S', "with the same bytes");
    need(mkdir("gone", 0700) == 0 && chdir("gone") == 0 && rmdir("../gone") == 0);
    is_errno(open("x", O_CREAT | O_RDWR, 0600), ENOENT, "nothing is made in a removed folder");
    is_errno(getcwd(link, sizeof link) == NULL ? -1 : 0, ENOENT, "which has no path");
    is(chdir(".."), 0, "but a parent");
}

static void places(void) {
    need(mkdir("folder", 0700) == 0);
    put_file("folder/file", 0600, "text");
    int fd = open("folder/file", O_PATH);
    char c;
    struct stat st;
    ok(fd >= 0, "O_PATH");
    is_errno(read(fd, &c, 1), EBADF, "is not for reading");
    is_errno(syscall(SYS_fchmod, fd, 0), EBADF, "nor for changing");
    is(fstat(fd, &st), 0, "but for looking");
    is((long)st.st_size, 4, "at what it is");
    int folder = open("folder", O_PATH | O_DIRECTORY);
    ok(openat(folder, "file", O_RDONLY) >= 0, "and for starting from");
    is(fchdir(folder), 0, "or going to");
    need(symlink("file", "link") == 0);
    int link = open("link", O_PATH | O_NOFOLLOW);
    char text[8] = "";
    is(readlinkat(link, "", text, sizeof text), 4, "a link itself can be held");
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", link);
    need(stat(path, &st) == 0);
    ok(S_ISLNK(st.st_mode), "and is not followed where /proc leads to it");
    snprintf(path, sizeof path, "/proc/self/fd/%d/", fd);
    is_errno(stat(path, &st), ENOTDIR, "a file is no folder, by /proc neither");
    snprintf(path, sizeof path, "/proc/self/fd/%d/.", fd);
    is_errno(stat(path, &st), ENOTDIR, "nor has it a dot");
    snprintf(path, sizeof path, "/proc/self/fd/%d/file", folder);
    is(stat(path, &st), 0, "a folder has files");
}

static void descriptors(void) {
    for (int i = 0; i < 10; i++)
        need(dup2(1, 30 + i) == 30 + i);
    is(syscall(SYS_CLOSE_RANGE, 30, 34, CLOEXEC_ONLY), 0, "close_range may only mark");
    is(fcntl(34, F_GETFD), FD_CLOEXEC, "the last one");
    is(fcntl(35, F_GETFD), 0, "and no further");
    is(syscall(SYS_CLOSE_RANGE, 30, ~0u, 0), 0, "or close all from one on");
    is_errno(fcntl(30, F_GETFD), EBADF, "which are gone");
    is_errno(syscall(SYS_CLOSE_RANGE, 5, 4, 0), EINVAL, "backwards");
}

// `fd` has one inode: itself, its name in /proc and what O_PATH holds of that are the same.
static void one_inode(int fd, const char* what) {
    char path[64];
    struct stat st, by_name, held;
    need(fd >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    need(fstat(fd, &st) == 0);
    succeeds(stat(path, &by_name), "%s: stat of its name in /proc", what);
    ok(by_name.st_dev == st.st_dev && by_name.st_ino == st.st_ino, "%s: one inode", what);
    ok(by_name.st_mode == st.st_mode && by_name.st_uid == st.st_uid, "%s: mode and owner", what);
    int place = open(path, O_PATH);
    ok(place >= 0 && fstat(place, &held) == 0, "%s: held by O_PATH", what);
    ok(held.st_dev == st.st_dev && held.st_ino == st.st_ino, "%s: the same one", what);
    char text[64] = "", held_text[64] = "";
    need(readlink(path, text, sizeof text - 1) > 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", place);
    need(readlink(path, held_text, sizeof held_text - 1) > 0);
    is_str(held_text, text, "%s: of one name", what);
    // Whoever holds it so holds no file of the file system that the link is to be in.
    is_errno(linkat(AT_FDCWD, path, AT_FDCWD, "link", AT_SYMLINK_FOLLOW), EXDEV, "%s: no link",
             what);
}

static void inodes(void) {
    int first[2], second[2];
    struct stat st, other;
    need(pipe(first) == 0 && pipe(second) == 0);
    one_inode(first[0], "a pipe's end");
    one_inode(first[1], "its other end");
    one_inode(second[0], "another pipe");
    need(fstat(first[0], &st) == 0 && fstat(first[1], &other) == 0);
    is(st.st_ino, other.st_ino, "two ends, one pipe");
    need(fchmod(first[0], 0640) == 0 && fstat(first[1], &other) == 0);
    is(other.st_mode, S_IFIFO | 0640, "whose mode is changed through either");
    need(fstat(second[0], &other) == 0);
    ok(st.st_dev == other.st_dev && st.st_ino != other.st_ino, "two pipes are two inodes");
    int counter = eventfd(0, 0), timer = timerfd_create(CLOCK_MONOTONIC, 0);
    int memory = memfd_create("m", 0);
    one_inode(counter, "an event counter");
    one_inode(timer, "a timer");
    one_inode(memory, "a memory file");
    one_inode(open("/dev/null", O_RDWR), "a device");
    need(fstat(counter, &other) == 0);
    ok(st.st_dev != other.st_dev, "pipes and counters are of two file systems");
    need(fstat(memory, &st) == 0);
    ok(st.st_dev != other.st_dev, "memory files of a third");
    ok(lseek(counter, 7, SEEK_SET) == 0 && lseek(timer, 7, SEEK_SET) == 0, "nothing to seek");
    is_errno(lseek(first[0], 0, SEEK_SET), ESPIPE, "in a pipe not even that");
    is_errno(open("/proc/self/fd/99", O_PATH), ENOENT, "a descriptor that is not open");
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", counter);
    // It is root's, and of mode 0600.
    is_errno(open(path, O_RDWR), geteuid() == 0 ? ENXIO : EACCES, "a counter is not opened again");
}

int main(void) {
    scratch_begin();
    subtest("one inode each", inodes);
    subtest("memory files", memory_files);
    subtest("seals", seals);
    subtest("event counters", counters);
    subtest("unlinked files", unlinked);
    subtest("places", places);
    subtest("descriptors", descriptors);
    return done();
}

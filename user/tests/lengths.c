// Lengths, counts and numbers out of all measure: an errno each time, or as much as there is.
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum { PAGE = 4096 };

static char buffer[4 * PAGE] __attribute__((aligned(4096)));
static const size_t huge[] = {1ul << 62, 1ul << 63, SIZE_MAX, SIZE_MAX - 4095};

static void reads_and_writes(void) {
    int fd = open("data", O_RDWR | O_CREAT, 0600);
    need(fd >= 0 && write(fd, "sixteen letters.", 16) == 16);
    for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        is_errno(syscall(SYS_pread64, fd, buffer, huge[i], 0), EFAULT, "pread of 0x%zx", huge[i]);
        is_errno(syscall(SYS_pwrite64, fd, buffer, huge[i], 0), EFAULT, "pwrite of 0x%zx", huge[i]);
    }
    is(syscall(SYS_pread64, fd, buffer, 1ul << 40, 0), 16, "pread of 1 TB gives what there is");
    is(syscall(SYS_pread64, fd, buffer, 1ul << 32, 0), 16, "and of 4 GB");
    is_errno(pread(fd, buffer, 16, -1), EINVAL, "pread before the start");
    is(pread(fd, buffer, 16, INT64_MAX - PAGE), 0, "pread far behind the end");
    is_errno(lseek(fd, -1, SEEK_SET), EINVAL, "lseek before the start");
    is_errno(lseek(fd, INT64_MAX, SEEK_END), EINVAL, "lseek to where no number reaches");
    is_errno(ftruncate(fd, -1), EINVAL, "ftruncate to less than nothing");
    is(read(fd, (void*)8, 0), 0, "a read of nothing needs no buffer");

    // A pipe takes no more than it holds: the rest of the program's memory is not looked at.
    int ends[2];
    need(pipe2(ends, O_NONBLOCK) == 0);
    char* page = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(page != MAP_FAILED && munmap(page + PAGE, PAGE) == 0);
    ssize_t n = write(ends[1], page, 1 << 30);
    ok(n == PAGE || (n == -1 && errno == EFAULT), "a write that runs off the end of its page");
}

static void vectors(void) {
    static struct iovec vector[1100];
    int fd = open("data", O_RDONLY);
    need(fd >= 0);
    for (int i = 0; i < 1100; i++)
        vector[i] = (struct iovec){buffer, 1};
    is(readv(fd, vector, 1024), 16, "1,024 vectors");
    is_errno(readv(fd, vector, 1025), EINVAL, "1,025 vectors");
    is_errno(readv(fd, vector, -1), EINVAL, "-1 vectors");
    is(readv(fd, NULL, 0), 0, "no vector");
    vector[1].iov_len = SIZE_MAX;
    is_errno(readv(fd, vector, 2), EINVAL, "a vector of a negative length");
}

static void maps(void) {
    for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        const size_t size = huge[i] & ~4095ul;
        is_errno(mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM,
                 "mmap of 0x%zx", size);
        is_errno(munmap(buffer, size), EINVAL, "munmap of 0x%zx", size);
        is_errno(mprotect(buffer, size, PROT_READ | PROT_WRITE), ENOMEM, "mprotect of 0x%zx", size);
    }
    is_errno(mmap(NULL, SIZE_MAX, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM,
             "mmap of a length that rounds up to nothing");
    is_errno(mmap((void*)0x7ffffffff000, 2 * PAGE, PROT_READ,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
             ENOMEM, "mmap fixed at the end of user space");
    is_errno(mmap((void*)0xffffffff80000000, PAGE, PROT_READ,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
             ENOMEM, "mmap fixed in the kernel");
    is_errno(munmap((void*)0xffffffff80000000, PAGE), EINVAL, "munmap in the kernel");
    is_errno(mprotect((void*)0xffffffff80000000, PAGE, PROT_READ | PROT_WRITE), ENOMEM,
             "mprotect in the kernel");
    is_errno(madvise((void*)0xffffffff80000000, PAGE, MADV_DONTNEED), ENOMEM,
             "madvise in the kernel");
    long brk_now = syscall(SYS_brk, 0);
    is(syscall(SYS_brk, 0xffffffff80000000), brk_now, "brk into the kernel changes nothing");
    is(syscall(SYS_brk, SIZE_MAX), brk_now, "nor does brk to the end of all");
    is(syscall(SYS_brk, 8), brk_now, "nor below the program");
}

static void counts(void) {
    is_errno(syscall(SYS_poll, buffer, 1u << 31, 0), EINVAL, "poll of 2^31 descriptors");
    is_errno(select(-1, NULL, NULL, NULL, &(struct timeval){0, 0}), EINVAL, "select of -1");
    char name[PATH_MAX + 10];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = 0;
    is_errno(access(name, F_OK), ENAMETOOLONG, "a path of more than 4,096 bytes");
    name[256] = 0;
    is_errno(access(name, F_OK), ENAMETOOLONG, "a name of 256 bytes");
    is_errno(mkdir(name, 0700), ENAMETOOLONG, "for mkdir too");
    name[255] = 0;
    is_errno(access(name, F_OK), ENOENT, "a name of 255 bytes is none too long");
    is_errno(syscall(SYS_readlink, "/proc/self/exe", name, 0), EINVAL, "readlink into nothing");
    is_errno(syscall(SYS_readlink, "/proc/self/exe", name, -1), EINVAL, "readlink into -1 bytes");
    is_errno(syscall(SYS_getcwd, name, 1), ERANGE, "getcwd into one byte");
    is_errno(syscall(SYS_rt_sigprocmask, SIG_BLOCK, buffer, NULL, 1000), EINVAL,
             "a signal set of a wrong size");
    is_errno(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4), EINVAL, "for sigaction too");
}

static void descriptors(void) {
    static const int bad[] = {-1, -100, 999999, INT_MAX, INT_MIN};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        is_errno(read(bad[i], buffer, 1), EBADF, "read from descriptor %d", bad[i]);
        is_errno(write(bad[i], buffer, 1), EBADF, "write");
        is_errno(close(bad[i]), EBADF, "close");
        is_errno(dup(bad[i]), EBADF, "dup");
        is_errno(dup2(STDIN_FILENO, bad[i]), EBADF, "dup2 to it");
        is_errno(fcntl(bad[i], F_GETFD), EBADF, "fcntl");
        is_errno(lseek(bad[i], 0, SEEK_SET), EBADF, "lseek");
        is_errno(syscall(SYS_ioctl, bad[i], 0x5401, buffer), EBADF, "ioctl");
        is_errno(syscall(SYS_getdents64, bad[i], buffer, 100), EBADF, "getdents64");
        is_errno(fchdir(bad[i]), EBADF, "fchdir");
        is_errno(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, bad[i], 0), EBADF, "mmap");
    }
}

static void numbers(void) {
    static const long none[] = {600, 999, 5555, 0x7ffffff, -1, -4096, INT_MIN};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        is_errno(syscall(none[i], 1, 2, 3, 4, 5, 6), ENOSYS, "system call number %ld", none[i]);
}

int main(void) {
    scratch_begin();
    put_file("data", 0600, "");
    subtest("read and write", reads_and_writes);
    subtest("vectors", vectors);
    subtest("mappings", maps);
    subtest("counts and names", counts);
    subtest("descriptors", descriptors);
    subtest("system call numbers", numbers);
    return done();
}

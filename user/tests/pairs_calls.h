// The calls of the pairs test, by the kind of object that they act on, and the calls that are left
// out, each with its reason. The list of what there is is the kernel's own,
// kernel/abi/syscalls.def: pairs.c fails when a call of it is neither here nor there.
#pragma once

#include "../lib/spork.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>

// The kinds of objects: a bit for each.
enum {
    K_FILE = 1 << 0,    // a descriptor of a regular file, of which somebody else has byte 3 locked
    K_PIPE_R = 1 << 1,  // of an empty pipe's reading end
    K_PIPE_W = 1 << 2,  // of a full pipe's writing end
    K_DIR = 1 << 3,     // of a directory
    K_EVENT = 1 << 4,   // eventfd
    K_TIMERFD = 1 << 5, // timerfd
    K_SIGNAL = 1 << 6,  // signalfd
    K_PIDFD = 1 << 7,   // pidfd of a zombie
    K_MEMFD = 1 << 8,   // memfd
    K_PATH = 1 << 9,    // O_PATH of a file
    K_FIFO = 1 << 10,   // of a named pipe, for both ends
    K_PROC = 1 << 11,   // of a file of /proc
    K_DEVICE = 1 << 26, // of /dev/zero
    K_TTY = 1 << 27,    // of a terminal
    K_SOCKET = 1 << 28, // of one of two sockets, with bytes both ways
    K_EPOLL = 1 << 29,  // of an epoll with a file that is ready
    K_MASTER = 1 << 30, // of a pseudo-terminal's master, with a line to read
    FD = ((1 << 12) - 1) | K_DEVICE | K_TTY | K_SOCKET | K_EPOLL | K_MASTER,
    K_NAME = 1 << 12,      // a name that is free, in a directory
    K_NAME_FILE = 1 << 13, // of a file
    K_NAME_DIR = 1 << 14,  // of an empty directory
    K_NAME_LINK = 1 << 15, // of a symbolic link to a file
    NAME = 15 << 12,
    K_PRIVATE = 1 << 16, // a mapping of private memory
    K_SHARED = 1 << 17,  // of shared memory
    K_MAPPED = 1 << 18,  // of a file, private
    MAPPING = 7 << 16,
    K_FUTEX = 1 << 19,
    K_TIMER = 1 << 20,   // POSIX timer
    K_SEGMENT = 1 << 21, // System V shared memory
    K_CHILD = 1 << 22,   // a process that sleeps
    K_ZOMBIE = 1 << 23,
    PROCESS = 3 << 22,
    K_THREAD = 1 << 24, // of the caller's process; sleeps
    K_SELF = 1 << 25,   // the caller's own process
    KINDS = 31,
};

// Arguments that the test fills in, for each call anew.
enum {
    FIRST_ARGUMENT = 0x7a000000,
    OBJ = FIRST_ARGUMENT, // the object
    OBJ2,                 // another of its kind, or its other end
    FREE,                 // a descriptor that is not open
    MEMFILE,              // a descriptor of a file with data
    BUF,                  // 4096 bytes of the caller's own
    DATA,                 // 8 bytes: 1, little-endian
    IOV,                  // one segment of 8 bytes in BUF
    POLLFD,
    FDSET,
    NO_TIME, // a struct timespec or timeval of 0
    LATER,   // a struct itimerspec or itimerval of years
    NEVER,   // and of 0
    WRLCK,   // struct flock: bytes 0 to 7
    UNLCK,
    X,       // the object's name, or one in the object, if that is a directory
    Y,       // another name there
    LINK,    // /proc/self/fd/OBJ
    NOTHING, // ""
    PTMX,    // /dev/ptmx
    DEST,    // memory that is not mapped
    INNER,   // the second page of a mapping
    REMOTE,  // struct iovec: a byte of the object, and the caller's byte
    LOCAL,
    PID_STAT, // /proc/OBJ/stat, maps, status, fd
    PID_MAPS,
    PID_STATUS,
    PID_FD,
    LIMIT, // struct rlimit
    MASK,  // a set of signals; a set of processors
    ACTION,
    SIGINFO,
    SHMDS,
    ATTACHED, // where the segment is attached
    ARGV,
    LAST_ARGUMENT
};

// What of a result is compared when the call succeeds.
enum result {
    VALUE,      // all of it
    DONE,       // that it has
    DESCRIPTOR, // the same, and it is a new descriptor
    ADDRESS,    // ... a new mapping
    ATTACHMENT, // ... a new place of the segment
    TIMER_MADE, // ... a timer, its id in BUF
    CHILD_MADE, // ... a child, which has to be waited for
};

struct call {
    const char* name;
    short number;
    unsigned kinds;
    enum result result;
    long a[6];
};

#define C(kinds, result, name, ...)                                                                \
    {                                                                                              \
        #name, SYS_##name, kinds, result, { __VA_ARGS__ }                                          \
    }

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif
enum { KEY = 0x5eed, RW = 0600, PAGE = 4096, CLOSE_ON_EXEC = 4, ALL_STATS = 0x7ff };
enum { // of futex(2)
    WAIT,
    WAKE,
    REQUEUE = 3,
    CMP_REQUEUE,
    WAKE_OP,
    WAIT_BITSET = 9,
    WAKE_BITSET,
    PRIVATE = 128,
    ADD_1_CMP_EQ_0 = 1 << 28 | 1 << 12,
};

static const struct call calls[] = {
    // ---- Descriptors
    C(FD, VALUE, read, OBJ, BUF, 8),
    C(FD, VALUE, write, OBJ, DATA, 8),
    C(FD, VALUE, close, OBJ),
    C(FD, VALUE, lseek, OBJ, 0, SEEK_CUR),
    C(FD, VALUE, lseek, OBJ, 2, SEEK_SET),
    C(FD, VALUE, lseek, OBJ, 0, SEEK_END),
    C(FD, VALUE, ioctl, OBJ, FIONREAD, BUF),
    C(FD, VALUE, ioctl, OBJ, TCGETS, BUF),
    C(FD, VALUE, pread64, OBJ, BUF, 8, 0),
    C(FD, VALUE, pwrite64, OBJ, DATA, 8, 4),
    C(FD, VALUE, readv, OBJ, IOV, 1),
    C(FD, VALUE, writev, OBJ, IOV, 1),
    C(FD, VALUE, preadv, OBJ, IOV, 1, 0),
    C(FD, VALUE, pwritev, OBJ, IOV, 1, 0),
    C(FD, DESCRIPTOR, dup, OBJ),
    C(FD, VALUE, dup2, OBJ2, OBJ),
    C(FD, VALUE, dup2, OBJ, FREE),
    C(FD, VALUE, dup3, OBJ2, OBJ, O_CLOEXEC),
    C(FD, VALUE, sendfile, OBJ, MEMFILE, 0, 4),
    C(FD, VALUE, sendfile, OBJ2, OBJ, 0, 4),
    C(FD, DESCRIPTOR, fcntl, OBJ, F_DUPFD, 0),
    C(FD, DESCRIPTOR, fcntl, OBJ, F_DUPFD_CLOEXEC, 0),
    C(FD, VALUE, fcntl, OBJ, F_GETFD),
    C(FD, VALUE, fcntl, OBJ, F_SETFD, 1),
    C(FD, VALUE, fcntl, OBJ, F_GETFL),
    C(FD, VALUE, fcntl, OBJ, F_SETFL, O_APPEND | O_NONBLOCK),
    C(FD, VALUE, fcntl, OBJ, F_SETLK, WRLCK),
    C(FD, VALUE, fcntl, OBJ, F_SETLKW, WRLCK),
    C(FD, VALUE, fcntl, OBJ, F_SETLK, UNLCK),
    C(FD, VALUE, fcntl, OBJ, F_GETLK, WRLCK),
    C(FD, VALUE, fcntl, OBJ, F_OFD_SETLK, WRLCK),
    C(FD, VALUE, fcntl, OBJ, F_OFD_SETLKW, WRLCK),
    C(FD, VALUE, fcntl, OBJ, F_GETPIPE_SZ),
    C(FD, VALUE, fcntl, OBJ, F_SETPIPE_SZ, 8 * PAGE),
    C(FD, VALUE, fcntl, OBJ, F_SETPIPE_SZ, 32 * PAGE),
    C(FD, VALUE, flock, OBJ, LOCK_EX),
    C(FD, VALUE, flock, OBJ, LOCK_SH | LOCK_NB),
    C(FD, VALUE, flock, OBJ, LOCK_UN),
    C(FD, VALUE, fsync, OBJ),
    C(FD, VALUE, fdatasync, OBJ),
    C(FD, VALUE, syncfs, OBJ),
    C(FD, VALUE, sync_file_range, OBJ, 0, 2 * PAGE, 7),
    C(FD, VALUE, ftruncate, OBJ, 2),
    C(FD, VALUE, ftruncate, OBJ, 3 * PAGE),
    C(FD, VALUE, fadvise64, OBJ, 0, 0, POSIX_FADV_DONTNEED),
    C(FD, VALUE, fallocate, OBJ, 0, 0, 2 * PAGE),
    C(FD, VALUE, copy_file_range, OBJ, 0, OBJ2, 0, 4, 0),
    C(FD, VALUE, copy_file_range, OBJ2, 0, OBJ, 0, 4, 0),
    C(FD, VALUE, close_range, OBJ, OBJ, 0),
    C(FD, VALUE, close_range, OBJ, OBJ, CLOSE_ON_EXEC),
    C(FD, VALUE, fstat, OBJ, BUF),
    C(FD, DONE, getdents, OBJ, BUF, PAGE),
    C(FD, DONE, getdents64, OBJ, BUF, PAGE),
    C(FD, VALUE, fchdir, OBJ),
    C(FD, VALUE, fchmod, OBJ, 0640),
    C(FD, VALUE, fchown, OBJ, 1, 1),
    C(FD, VALUE, fstatfs, OBJ, BUF),
    C(FD, VALUE, newfstatat, OBJ, NOTHING, BUF, AT_EMPTY_PATH),
    C(FD, VALUE, statx, OBJ, NOTHING, AT_EMPTY_PATH, ALL_STATS, BUF),
    C(FD, VALUE, fchownat, OBJ, NOTHING, 1, 1, AT_EMPTY_PATH),
    C(FD, VALUE, linkat, OBJ, NOTHING, AT_FDCWD, Y, AT_EMPTY_PATH),
    C(FD, VALUE, utimensat, OBJ, 0, 0, 0),
    C(FD, DESCRIPTOR, openat, OBJ, X, O_RDWR | O_CREAT, RW),
    C(FD, VALUE, mkdirat, OBJ, X, 0700),
    C(FD, VALUE, mknodat, OBJ, X, S_IFIFO | RW, 0),
    C(FD, VALUE, symlinkat, Y, OBJ, X),
    C(FD, DONE, readlinkat, OBJ, X, BUF, 100),
    C(FD, VALUE, unlinkat, OBJ, X, 0),
    C(FD, VALUE, unlinkat, OBJ, X, AT_REMOVEDIR),
    C(FD, VALUE, renameat, OBJ, X, OBJ, Y),
    C(FD, VALUE, renameat2, OBJ, X, OBJ, Y, 1),
    C(FD, VALUE, fchmodat, OBJ, X, 0640),
    C(FD, VALUE, faccessat, OBJ, X, R_OK),
    C(FD, VALUE, faccessat2, OBJ, X, R_OK, 0),
    C(FD, DONE, poll, POLLFD, 1, 0),
    C(FD, DONE, ppoll, POLLFD, 1, NO_TIME, 0, 8),
    C(FD, DONE, select, OBJ, FDSET, 0, 0, NO_TIME),
    C(FD, DONE, pselect6, OBJ, FDSET, 0, 0, NO_TIME, 0),
    C(FD, ADDRESS, mmap, 0, 2 * PAGE, PROT_READ, MAP_SHARED, OBJ, 0),
    C(FD, ADDRESS, mmap, 0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, OBJ, 0),
    C(FD, VALUE, signalfd, OBJ, MASK, 8),
    C(FD, VALUE, signalfd4, OBJ, MASK, 8, 0),
    C(FD, VALUE, timerfd_settime, OBJ, 0, LATER, BUF),
    C(FD, VALUE, timerfd_settime, OBJ, 0, NEVER, 0),
    C(FD, VALUE, timerfd_gettime, OBJ, BUF),
    C(FD, VALUE, sendto, OBJ, DATA, 8, MSG_NOSIGNAL, 0, 0),
    C(FD, VALUE, recvfrom, OBJ, BUF, 3, MSG_DONTWAIT, 0, 0),
    C(FD, VALUE, recvfrom, OBJ, BUF, 3, MSG_DONTWAIT | MSG_PEEK, 0, 0),
    C(FD, VALUE, shutdown, OBJ, SHUT_WR),
    C(FD, VALUE, shutdown, OBJ, SHUT_RD),
    C(K_SOCKET, VALUE, setsockopt, OBJ, SOL_SOCKET, SO_SNDBUF, DATA, 4),
    C(K_EPOLL, VALUE, epoll_ctl, OBJ, EPOLL_CTL_ADD, OBJ2, BUF),
    C(K_EPOLL, VALUE, epoll_ctl, OBJ, EPOLL_CTL_MOD, OBJ2, DATA),
    C(FD, VALUE, epoll_ctl, OBJ, EPOLL_CTL_DEL, OBJ2, 0),
    C(FD, VALUE, epoll_wait, OBJ, BUF, 4, 0),
    C(FD, VALUE, pidfd_send_signal, OBJ, 0, 0, 0),
    C(FD, VALUE, process_madvise, OBJ, LOCAL, 1, MADV_COLD, 0),
    C(FD, DONE, waitid, 3, OBJ, BUF, WEXITED | WNOHANG, 0),
    C(FD, DESCRIPTOR, open, LINK, O_RDONLY | O_NONBLOCK),
    C(FD, DESCRIPTOR, open, LINK, O_PATH),
    C(FD, VALUE, linkat, AT_FDCWD, LINK, AT_FDCWD, Y, AT_SYMLINK_FOLLOW),
    C(FD, VALUE, stat, LINK, BUF),
    C(FD, VALUE, chmod, LINK, 0640),
    C(FD, DONE, readlink, LINK, BUF, 100),
    C(FD, VALUE, truncate, LINK, 1),
    C(FD, VALUE, fgetxattr, OBJ, Y, BUF, 8),
    C(FD, VALUE, flistxattr, OBJ, BUF, PAGE),
    C(FD, VALUE, fremovexattr, OBJ, Y),
    C(K_TTY, VALUE, ioctl, OBJ, TCSETSF, BUF),
    C(K_TTY, VALUE, ioctl, OBJ, TCSBRK, 1),
    C(K_TTY, VALUE, ioctl, OBJ, TCFLSH, TCIOFLUSH),
    C(K_TTY, VALUE, ioctl, OBJ, TCXONC, TCOOFF),
    C(K_TTY, VALUE, ioctl, OBJ, TCXONC, TCOON),
    C(K_TTY, VALUE, ioctl, OBJ, TIOCGWINSZ, BUF),
    C(K_TTY, VALUE, ioctl, OBJ, TIOCSWINSZ, BUF),
    C(K_TTY, VALUE, ioctl, OBJ, TIOCSCTTY, 0),
    C(K_TTY, VALUE, ioctl, OBJ, TIOCGPGRP, BUF),
    C(K_TTY, VALUE, ioctl, OBJ, TIOCOUTQ, BUF),
    C(K_MASTER, VALUE, ioctl, OBJ, TIOCPKT, DATA),
    C(K_MASTER, VALUE, ioctl, OBJ, TIOCSPTLCK, DATA),
    C(K_MASTER, DESCRIPTOR, ioctl, OBJ, TIOCGPTPEER, O_RDWR | O_NOCTTY),
    C(K_MASTER, VALUE, ioctl, OBJ, TCFLSH, TCIOFLUSH),
    C(K_MASTER, VALUE, ioctl, OBJ, TIOCSIG, SIGWINCH),
    // ---- Names
    C(NAME, DESCRIPTOR, open, X, O_RDONLY),
    C(NAME, DESCRIPTOR, open, X, O_RDWR | O_CREAT | O_EXCL, RW),
    C(NAME, DESCRIPTOR, open, X, O_RDWR | O_CREAT | O_TRUNC, RW),
    C(NAME, DESCRIPTOR, open, X, O_PATH | O_NOFOLLOW),
    C(NAME, DESCRIPTOR, creat, X, RW),
    C(NAME, DESCRIPTOR, openat, AT_FDCWD, X, O_WRONLY | O_APPEND),
    C(NAME, VALUE, stat, X, BUF),
    C(NAME, VALUE, lstat, X, BUF),
    C(NAME, VALUE, newfstatat, AT_FDCWD, X, BUF, 0),
    C(NAME, VALUE, statx, AT_FDCWD, X, 0, ALL_STATS, BUF),
    C(NAME, VALUE, access, X, W_OK),
    C(NAME, VALUE, faccessat, AT_FDCWD, X, X_OK),
    C(NAME, VALUE, faccessat2, AT_FDCWD, X, R_OK, AT_SYMLINK_NOFOLLOW),
    C(NAME, VALUE, chdir, X),
    C(NAME, VALUE, rename, X, Y),
    C(NAME, VALUE, rename, Y, X),
    C(NAME, VALUE, renameat, AT_FDCWD, X, AT_FDCWD, Y),
    C(NAME, VALUE, renameat2, AT_FDCWD, X, AT_FDCWD, Y, 1),
    C(NAME, VALUE, renameat2, AT_FDCWD, X, AT_FDCWD, Y, 2),
    C(NAME, VALUE, mkdir, X, 0700),
    C(NAME, VALUE, mkdirat, AT_FDCWD, X, 0750),
    C(NAME, VALUE, rmdir, X),
    C(NAME, VALUE, unlink, X),
    C(NAME, VALUE, unlinkat, AT_FDCWD, X, AT_REMOVEDIR),
    C(NAME, VALUE, link, X, Y),
    C(NAME, VALUE, link, Y, X),
    C(NAME, VALUE, linkat, AT_FDCWD, X, AT_FDCWD, Y, AT_SYMLINK_FOLLOW),
    C(NAME, VALUE, symlink, Y, X),
    C(NAME, VALUE, symlinkat, Y, AT_FDCWD, X),
    C(NAME, DONE, readlink, X, BUF, 100),
    C(NAME, DONE, readlinkat, AT_FDCWD, X, BUF, 100),
    C(NAME, VALUE, chmod, X, 0640),
    C(NAME, VALUE, fchmodat, AT_FDCWD, X, 0620),
    C(NAME, VALUE, chown, X, 1, 1),
    C(NAME, VALUE, lchown, X, 2, 2),
    C(NAME, VALUE, fchownat, AT_FDCWD, X, 3, 3, AT_SYMLINK_NOFOLLOW),
    C(NAME, VALUE, utime, X, 0),
    C(NAME, VALUE, utimes, X, 0),
    C(NAME, VALUE, utimensat, AT_FDCWD, X, 0, 0),
    C(NAME, VALUE, mknod, X, S_IFIFO | RW, 0),
    C(NAME, VALUE, mknodat, AT_FDCWD, X, S_IFREG | RW, 0),
    C(NAME, VALUE, statfs, X, BUF),
    C(NAME, VALUE, truncate, X, 2),
    C(NAME, VALUE, mount, X, X, X, 0, 0),
    C(NAME, VALUE, umount2, X, 0),
    C(NAME, VALUE, getxattr, X, Y, BUF, 8),
    C(NAME, VALUE, lgetxattr, X, Y, BUF, 8),
    C(NAME, VALUE, listxattr, X, BUF, PAGE),
    C(NAME, VALUE, llistxattr, X, BUF, PAGE),
    C(NAME, VALUE, removexattr, X, Y),
    C(NAME, VALUE, lremovexattr, X, Y),
    // ---- Mappings
    C(MAPPING, DONE, mmap, INNER, PAGE, PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
    C(MAPPING, DONE, mmap, INNER, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, MEMFILE, 0),
    C(MAPPING, VALUE, munmap, INNER, 2 * PAGE),
    C(MAPPING, VALUE, munmap, OBJ, 4 * PAGE),
    C(MAPPING, VALUE, mprotect, INNER, PAGE, PROT_READ),
    C(MAPPING, VALUE, mprotect, OBJ, 4 * PAGE, PROT_NONE),
    C(MAPPING, DONE, mremap, OBJ, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, DEST),
    C(MAPPING, DONE, mremap, OBJ, 4 * PAGE, 2 * PAGE, 0, 0),
    C(MAPPING, DONE, mremap, OBJ, 4 * PAGE, 6 * PAGE, 0, 0),
    C(MAPPING, VALUE, msync, OBJ, 4 * PAGE, MS_SYNC),
    C(MAPPING, VALUE, mincore, OBJ, 4 * PAGE, BUF),
    C(MAPPING, VALUE, madvise, OBJ, 4 * PAGE, MADV_DONTNEED),
    C(MAPPING, VALUE, madvise, INNER, PAGE, MADV_WILLNEED),
    C(MAPPING, VALUE, madvise, OBJ, 4 * PAGE, MADV_DONTFORK),
    C(MAPPING, VALUE, madvise, INNER, 2 * PAGE, MADV_COLD),
    C(MAPPING, VALUE, madvise, INNER, 2 * PAGE, MADV_PAGEOUT),
    C(MAPPING, VALUE, minherit, OBJ, 4 * PAGE, 0),
    C(MAPPING, VALUE, mlock, OBJ, 4 * PAGE),
    C(MAPPING, VALUE, mlock2, INNER, PAGE, 1),
    C(MAPPING, VALUE, munlock, INNER, 2 * PAGE),
    C(MAPPING, VALUE, mlockall, MCL_CURRENT),
    C(MAPPING, VALUE, munlockall),
    C(MAPPING, VALUE, pread64, MEMFILE, INNER, 64, 0),
    C(MAPPING, VALUE, pwrite64, MEMFILE, INNER, 64, PAGE),
    C(MAPPING, VALUE, process_vm_readv, OBJ2, LOCAL, 1, REMOTE, 1, 0),
    C(MAPPING, VALUE, process_vm_writev, OBJ2, LOCAL, 1, REMOTE, 1, 0),
    C(MAPPING, VALUE, futex, INNER, WAKE, 1),
    C(MAPPING, VALUE, shmdt, INNER),
    C(MAPPING, CHILD_MADE, fork),
    // ---- Futex words
    C(K_FUTEX, VALUE, futex, OBJ, WAIT, 0, 0),
    C(K_FUTEX, VALUE, futex, OBJ, WAIT | PRIVATE, 0, 0),
    C(K_FUTEX, VALUE, futex, OBJ, WAIT | PRIVATE, 1, 0),
    C(K_FUTEX, VALUE, futex, OBJ, WAIT, 0, NO_TIME),
    C(K_FUTEX, VALUE, futex, OBJ, WAIT_BITSET, 0, 0, 0, 2),
    C(K_FUTEX, VALUE, futex, OBJ, WAKE, 1),
    C(K_FUTEX, VALUE, futex, OBJ, WAKE | PRIVATE, 9),
    C(K_FUTEX, VALUE, futex, OBJ, WAKE_BITSET, 9, 0, 0, 1),
    C(K_FUTEX, VALUE, futex, OBJ, REQUEUE, 0, 9, OBJ2),
    C(K_FUTEX, VALUE, futex, OBJ, CMP_REQUEUE, 0, 9, OBJ2, 0),
    C(K_FUTEX, VALUE, futex, OBJ2, REQUEUE, 0, 9, OBJ),
    C(K_FUTEX, VALUE, futex, OBJ, WAKE_OP, 1, 1, OBJ, ADD_1_CMP_EQ_0),
    C(K_FUTEX, VALUE, futex, OBJ2, WAKE, 9),
    C(K_FUTEX, VALUE, munmap, OBJ, PAGE),
    C(K_FUTEX, VALUE, mprotect, OBJ, PAGE, PROT_READ),
    C(K_FUTEX, VALUE, pread64, MEMFILE, OBJ, 4, 0),
    // ---- POSIX timers
    C(K_TIMER, VALUE, timer_settime, OBJ, 0, LATER, BUF),
    C(K_TIMER, VALUE, timer_settime, OBJ, 1, LATER, 0),
    C(K_TIMER, VALUE, timer_settime, OBJ, 0, NEVER, 0),
    C(K_TIMER, VALUE, timer_gettime, OBJ, BUF),
    C(K_TIMER, VALUE, timer_getoverrun, OBJ),
    C(K_TIMER, VALUE, timer_delete, OBJ),
    C(K_TIMER, TIMER_MADE, timer_create, CLOCK_MONOTONIC, 0, BUF),
    // ---- System V shared memory
    C(K_SEGMENT, ATTACHMENT, shmat, OBJ, 0, 0),
    C(K_SEGMENT, ATTACHMENT, shmat, OBJ, 0, SHM_RDONLY),
    C(K_SEGMENT, VALUE, shmctl, OBJ, IPC_STAT, BUF),
    C(K_SEGMENT, VALUE, shmctl, OBJ, IPC_RMID, 0),
    C(K_SEGMENT, VALUE, shmctl, OBJ, IPC_SET, SHMDS),
    C(K_SEGMENT, VALUE, shmctl, OBJ, SHM_LOCK, 0),
    C(K_SEGMENT, DONE, shmget, KEY, PAGE, IPC_CREAT | IPC_EXCL | RW),
    C(K_SEGMENT, DONE, shmget, KEY, PAGE, 0),
    C(K_SEGMENT, VALUE, shmdt, ATTACHED),
    C(K_SEGMENT, CHILD_MADE, fork),
    // ---- Other processes
    C(PROCESS, VALUE, kill, OBJ, 0),
    C(PROCESS, VALUE, kill, OBJ, SIGSTOP),
    C(PROCESS, VALUE, kill, OBJ, SIGCONT),
    C(PROCESS, VALUE, kill, OBJ, SIGKILL),
    C(PROCESS, VALUE, kill, OBJ, SIGUSR1),
    C(PROCESS, VALUE, tkill, OBJ, SIGTERM),
    C(PROCESS, VALUE, tgkill, OBJ, OBJ, 0),
    C(PROCESS, VALUE, rt_sigqueueinfo, OBJ, SIGUSR1, SIGINFO),
    C(PROCESS, VALUE, rt_tgsigqueueinfo, OBJ, OBJ, SIGUSR1, SIGINFO),
    C(PROCESS, DONE, wait4, OBJ, BUF, WNOHANG, 0),
    C(PROCESS, DONE, wait4, OBJ, BUF, WNOHANG | WUNTRACED | WCONTINUED, 0),
    C(PROCESS, DONE, wait4, OBJ, BUF, 0, 0),
    C(PROCESS, DONE, waitid, P_PID, OBJ, BUF, WNOHANG | WEXITED | WNOWAIT, 0),
    C(PROCESS, DONE, waitid, P_ALL, 0, BUF, WNOHANG | WEXITED, 0),
    C(PROCESS, VALUE, setpgid, OBJ, OBJ),
    C(PROCESS, VALUE, setpgid, OBJ, 0),
    C(PROCESS, DONE, getpgid, OBJ),
    C(PROCESS, DONE, getsid, OBJ),
    C(PROCESS, VALUE, prlimit64, OBJ, RLIMIT_NOFILE, 0, BUF),
    C(PROCESS, VALUE, prlimit64, OBJ, RLIMIT_NOFILE, LIMIT, 0),
    C(PROCESS, DONE, getpriority, PRIO_PROCESS, OBJ),
    C(PROCESS, DONE, setpriority, PRIO_PROCESS, OBJ, 5),
    C(PROCESS, VALUE, process_vm_readv, OBJ, LOCAL, 1, LOCAL, 1, 0),
    C(PROCESS, VALUE, process_vm_writev, OBJ, LOCAL, 1, LOCAL, 1, 0),
    C(PROCESS, DONE, ptrace, PTRACE_SEIZE, OBJ, 0, 0),
    C(PROCESS, VALUE, ptrace, PTRACE_CONT, OBJ, 0, 0),
    C(PROCESS, DESCRIPTOR, pidfd_open, OBJ, 0),
    C(PROCESS, DONE, sched_getaffinity, OBJ, 128, BUF),
    C(PROCESS, VALUE, sched_setaffinity, OBJ, 8, MASK),
    C(PROCESS, DONE, sched_getscheduler, OBJ),
    C(PROCESS, DONE, sched_getparam, OBJ, BUF),
    C(PROCESS, DONE, sched_setparam, OBJ, NO_TIME),
    C(PROCESS, DONE, sched_setscheduler, OBJ, SCHED_OTHER, NO_TIME),
    C(PROCESS, VALUE, get_robust_list, OBJ, BUF, BUF),
    C(PROCESS, DESCRIPTOR, open, PID_STAT, O_RDONLY),
    C(PROCESS, DESCRIPTOR, open, PID_MAPS, O_RDONLY),
    C(PROCESS, DESCRIPTOR, open, PID_FD, O_RDONLY | O_DIRECTORY),
    C(PROCESS, VALUE, stat, PID_STATUS, BUF),
    // ---- Other threads
    C(K_THREAD, VALUE, tkill, OBJ, 0),
    C(K_THREAD, VALUE, tkill, OBJ, SIGUSR1),
    C(K_THREAD, VALUE, tgkill, OBJ2, OBJ, SIGUSR1),
    C(K_THREAD, VALUE, rt_tgsigqueueinfo, OBJ2, OBJ, SIGUSR1, SIGINFO),
    C(K_THREAD, VALUE, ptrace, PTRACE_SEIZE, OBJ, 0, 0),
    C(K_THREAD, DONE, getpriority, PRIO_PROCESS, OBJ),
    C(K_THREAD, VALUE, setpriority, PRIO_PROCESS, OBJ, 3),
    C(K_THREAD, VALUE, sched_setaffinity, OBJ, 8, MASK),
    C(K_THREAD, DONE, sched_getaffinity, OBJ, 128, BUF),
    C(K_THREAD, VALUE, get_robust_list, OBJ, BUF, BUF),
    C(K_THREAD, DESCRIPTOR, open, PID_STAT, O_RDONLY),
    C(K_THREAD, DESCRIPTOR, open, PID_STATUS, O_RDONLY),
    C(K_THREAD, DONE, futex, DEST, WAKE, 1),
    // ---- The own process: each round in one of its own
    C(K_SELF, CHILD_MADE, fork),
    C(K_SELF, CHILD_MADE, vfork),
    C(K_SELF, CHILD_MADE, clone, SIGCHLD | CLONE_FILES | CLONE_FS, 0, 0, 0, 0),
    C(K_SELF, DONE, execve, X, ARGV, 0),
    C(K_SELF, DONE, execveat, AT_FDCWD, X, ARGV, 0, 0),
    C(K_SELF, DONE, exit, 3),
    C(K_SELF, DONE, exit_group, 4),
    C(K_SELF, VALUE, setuid, 1000),
    C(K_SELF, VALUE, setgid, 1000),
    C(K_SELF, VALUE, setreuid, 1000, 1000),
    C(K_SELF, VALUE, setregid, 1000, 1000),
    C(K_SELF, VALUE, setresuid, 1000, 1000, -1),
    C(K_SELF, VALUE, setresgid, 1000, 1000, -1),
    C(K_SELF, DONE, setfsuid, 1000),
    C(K_SELF, DONE, setfsgid, 1000),
    C(K_SELF, VALUE, setgroups, 1, DATA),
    C(K_SELF, DONE, getgroups, 32, BUF),
    C(K_SELF, DONE, getresuid, BUF, BUF, BUF),
    C(K_SELF, DONE, getresgid, BUF, BUF, BUF),
    C(K_SELF, DONE, setrlimit, RLIMIT_NOFILE, LIMIT),
    C(K_SELF, DONE, getrlimit, RLIMIT_STACK, BUF),
    C(K_SELF, DONE, getrusage, RUSAGE_SELF, BUF),
    C(K_SELF, DONE, times, BUF),
    C(K_SELF, DONE, umask, 0),
    C(K_SELF, DONE, getcwd, BUF, PAGE),
    C(K_SELF, DONE, brk, 0),
    C(K_SELF, DONE, prctl, PR_SET_DUMPABLE, 0),
    C(K_SELF, DONE, prctl, PR_SET_NAME, DATA),
    C(K_SELF, DONE, prctl, PR_SET_PDEATHSIG, 0),
    C(K_SELF, DONE, prctl, PR_SET_CHILD_SUBREAPER, 1),
    C(K_SELF, DONE, personality, 0xffffffff),
    C(K_SELF, DONE, rt_sigaction, SIGUSR1, ACTION, BUF, 8),
    C(K_SELF, DONE, rt_sigprocmask, SIG_BLOCK, MASK, BUF, 8),
    C(K_SELF, DONE, rt_sigpending, BUF, 8),
    C(K_SELF, DONE, rt_sigtimedwait, MASK, BUF, NO_TIME, 8),
    C(K_SELF, DONE, sigaltstack, 0, BUF),
    C(K_SELF, DONE, setitimer, ITIMER_REAL, LATER, BUF),
    C(K_SELF, DONE, setitimer, ITIMER_PROF, LATER, BUF),
    C(K_SELF, DONE, setitimer, ITIMER_REAL, NEVER, 0),
    C(K_SELF, DONE, getitimer, ITIMER_REAL, BUF),
    C(K_SELF, DONE, alarm, 0),
    C(K_SELF, DONE, timer_create, CLOCK_MONOTONIC, 0, BUF),
    C(K_SELF, DONE, timer_delete, 0),
    C(K_SELF, DONE, setsid),
    C(K_SELF, DONE, setpgid, 0, 0),
    C(K_SELF, DONE, getpgid, 0),
    C(K_SELF, DONE, kill, OBJ, SIGUSR1),
    C(K_SELF, DONE, kill, OBJ, SIGTERM),
    C(K_SELF, DONE, kill, OBJ, SIGCONT),
    C(K_SELF, DONE, wait4, -1, BUF, WNOHANG, 0),
    C(K_SELF, DONE, mlockall, MCL_CURRENT | MCL_FUTURE),
    C(K_SELF, DONE, mmap, 0, 64 * PAGE, PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0),
    C(K_SELF, DONE, set_robust_list, 0, 24),
    C(K_SELF, DONE, membarrier, 1, 0, 0),  // for all processors
    C(K_SELF, DONE, membarrier, 16, 0, 0), // announces
    C(K_SELF, DONE, membarrier, 8, 0, 0),  // that for its own
    C(K_SELF, DESCRIPTOR, pidfd_open, OBJ, 0),
    C(K_SELF, DESCRIPTOR, open, PID_MAPS, O_RDONLY),
    C(K_SELF, DONE, nanosleep, NO_TIME, 0),
    C(K_SELF, DONE, close_range, 3, 1000, 0),
    C(K_SELF, DONE, prlimit64, OBJ, RLIMIT_CORE, 0, BUF),
};
enum { CALLS = sizeof calls / sizeof calls[0] };

// What no pair is made of.
static const struct {
    const char *names, *reason;
} left_out[] = {
    {"getpid gettid getppid getuid geteuid getgid getegid getpgrp getcpu uname capget arch_prctl "
     "set_tid_address sched_yield sched_get_priority_max sched_get_priority_min",
     "reads or writes what is the calling thread's own, in one step"},
    {"time gettimeofday clock_gettime clock_getres sysinfo syslog sync getrandom sethostname "
     "clock_settime",
     "the object is the machine: there is no other one to test on"},
    {"pipe pipe2 memfd_create eventfd eventfd2 timerfd_create socket socketpair epoll_create "
     "epoll_create1",
     "makes an object that nobody else has; its descriptor is published as dup's is"},
    {"pause rt_sigsuspend clock_nanosleep restart_syscall rt_sigreturn",
     "waits for a signal of the calling thread, or ends such a wait"},
    {"setxattr lsetxattr fsetxattr", "there are no attributes to set: getxattr is among the pairs"},
    {"bind listen connect accept accept4 getsockname getpeername getsockopt",
     "of names, which two sockets of a pair have not: local_sockets.c has them at once"},
    {"sendmsg recvmsg sendmmsg recvmmsg",
     "sends or receives: sendto and recvfrom are among the pairs"},
    {"epoll_pwait epoll_pwait2", "waits in another form: epoll_wait is among the pairs"},
    {"reboot", "ends the machine"},
    {"swapon swapoff", "the object is a disk, which these machines have not"},
    {"getsid", "of another process: among the pairs"},
    {"spork_forkmode afork clone3", "fork in another form: clone is among the pairs"},
};

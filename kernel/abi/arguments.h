// The arguments and the result of system calls, and the structures that several of them take.
//
// An argument's type says how the register is converted for the handler and how strace prints it.
// The calls themselves are in kernel/abi/syscalls.h, which only their handlers need.
#pragma once

#include "kernel/abi/signal.h"
#include "kernel/base/user_ptr.h"
#include "lib/result.h"
#include "lib/types.h"

#include <cstdint>

using sysresult = expected<int64_t>;

// An argument of 32 bits: the upper half of the register is ignored, as Linux does for int.
template <class Tag, class Int = int32_t> struct sys_int {
    Int value;
    constexpr operator Int() const { return value; }
};
using sys_fd = sys_int<struct fd_tag>;               // 3
using sys_at_fd = sys_int<struct at_fd_tag>;         // AT_FDCWD
using sys_open_flags = sys_int<struct open_tag>;     // O_RDONLY|O_CLOEXEC
using sys_mode = sys_int<struct mode_tag, uint32_t>; // 0644
using sys_signal = sys_int<struct signal_tag>;       // SIGINT
using sys_pid = sys_int<struct pid_tag>;
using sys_prot = sys_int<struct prot_tag>;         // PROT_READ|PROT_WRITE
using sys_map_flags = sys_int<struct map_tag>;     // MAP_PRIVATE|MAP_ANONYMOUS
using sys_hex = sys_int<struct hex_tag, uint32_t>; // 0x10
using sys_at_flags = sys_int<struct atf_tag>;      // AT_SYMLINK_NOFOLLOW
using sys_whence = sys_int<struct whence_tag>;     // SEEK_SET
using sys_clock = sys_int<struct clock_tag>;       // CLOCK_MONOTONIC
struct sys_clone_flags {
    uint64_t value;
    constexpr operator uint64_t() const { return value; }
};
struct sys_address {
    uint64_t value;
    constexpr operator uint64_t() const { return value; } // 0x7f...
    vaddr_t address() const { return vaddr_t(value); }
};
struct sys_path {
    vaddr_t address;
}; // "/etc/passwd"
struct sys_string {
    vaddr_t address;
}; // a string that is not a path
struct sys_string_array {
    vaddr_t address;
}; // ["sh", "-c", ...]
struct sys_in_bytes {
    vaddr_t address;
}; // data to be written: its length is the next argument
struct sys_out_bytes {
    vaddr_t address;
}; // data that was read: its length is the result

// Structures of the ABI shared by several calls.
struct linux_timespec {
    int64_t sec, nsec;
};
struct linux_timeval {
    int64_t sec, usec;
};
struct linux_itimerspec {
    linux_timespec interval, value;
};
struct linux_iovec {
    uint64_t base, size;
};
struct linux_stat {
    uint64_t dev, ino, nlink;
    uint32_t mode, uid, gid, pad0;
    uint64_t rdev;
    int64_t size, blksize, blocks;
    linux_timespec atime, mtime, ctime;
    int64_t unused[3];
};
static_assert(sizeof(linux_stat) == 144);
struct linux_rusage {
    linux_timeval utime, stime;
    int64_t maxrss, ixrss, idrss, isrss, minflt, majflt, nswap, inblock, oublock, msgsnd, msgrcv,
        nsignals, nvcsw, nivcsw;
};
struct linux_rlimit;
struct linux_pollfd {
    int32_t fd;
    int16_t events, revents;
};
struct linux_msghdr {
    uint64_t name;
    uint32_t name_size, pad0;
    uint64_t segments, segment_count;
    uint64_t control, control_size;
    uint32_t flags, pad1;
};
static_assert(sizeof(linux_msghdr) == 56);
struct linux_mmsghdr {
    linux_msghdr header;
    uint32_t moved, pad;
};
struct [[gnu::packed]] linux_epoll_event {
    uint32_t events;
    uint64_t data;
};
static_assert(sizeof(linux_epoll_event) == 12);

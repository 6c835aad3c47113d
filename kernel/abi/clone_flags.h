// Linux's CLONE_* flags. The one table: X(value, name); strace prints from it.
#pragma once

#include <cstdint>

#define CLONE_FLAGS(X)                                                                             \
    X(0x100, CLONE_VM)                                                                             \
    X(0x200, CLONE_FS)                                                                             \
    X(0x400, CLONE_FILES)                                                                          \
    X(0x800, CLONE_SIGHAND)                                                                        \
    X(0x1000, CLONE_PIDFD)                                                                         \
    X(0x2000, CLONE_PTRACE)                                                                        \
    X(0x4000, CLONE_VFORK)                                                                         \
    X(0x8000, CLONE_PARENT)                                                                        \
    X(0x10000, CLONE_THREAD)                                                                       \
    X(0x20000, CLONE_NEWNS)                                                                        \
    X(0x40000, CLONE_SYSVSEM)                                                                      \
    X(0x80000, CLONE_SETTLS)                                                                       \
    X(0x100000, CLONE_PARENT_SETTID)                                                               \
    X(0x200000, CLONE_CHILD_CLEARTID)                                                              \
    X(0x400000, CLONE_DETACHED)                                                                    \
    X(0x800000, CLONE_UNTRACED)                                                                    \
    X(0x1000000, CLONE_CHILD_SETTID)                                                               \
    X(0x2000000, CLONE_NEWCGROUP)                                                                  \
    X(0x4000000, CLONE_NEWUTS)                                                                     \
    X(0x8000000, CLONE_NEWIPC)                                                                     \
    X(0x10000000, CLONE_NEWUSER)                                                                   \
    X(0x20000000, CLONE_NEWPID)                                                                    \
    X(0x40000000, CLONE_NEWNET)                                                                    \
    X(0x80000000, CLONE_IO)                                                                        \
    X(0x100000000, CLONE_CLEAR_SIGHAND)                                                            \
    X(0x200000000, CLONE_INTO_CGROUP)

// CLONE_VM_ and so on: the host's <sched.h> has macros of the plain names.
enum : uint64_t {
#define X(value, name) name##_ = value,
    CLONE_FLAGS(X)
#undef X
        CSIGNAL_ = 0xff,   // of clone's flags: the exit signal
    CLONE_NEWTIME_ = 0x80, // of clone3's
};

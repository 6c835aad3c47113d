// Linux's CLONE_* flags. The one table: X(value, name, Linux's name); strace prints from it.
#pragma once

#include <cstdint>

#define CLONE_FLAGS(X)                                                                             \
    X(0x100, clone_vm, "CLONE_VM")                                                                 \
    X(0x200, clone_fs, "CLONE_FS")                                                                 \
    X(0x400, clone_files, "CLONE_FILES")                                                           \
    X(0x800, clone_sighand, "CLONE_SIGHAND")                                                       \
    X(0x1000, clone_pidfd, "CLONE_PIDFD")                                                          \
    X(0x2000, clone_ptrace, "CLONE_PTRACE")                                                        \
    X(0x4000, clone_vfork, "CLONE_VFORK")                                                          \
    X(0x8000, clone_parent, "CLONE_PARENT")                                                        \
    X(0x10000, clone_thread, "CLONE_THREAD")                                                       \
    X(0x20000, clone_newns, "CLONE_NEWNS")                                                         \
    X(0x40000, clone_sysvsem, "CLONE_SYSVSEM")                                                     \
    X(0x80000, clone_settls, "CLONE_SETTLS")                                                       \
    X(0x100000, clone_parent_settid, "CLONE_PARENT_SETTID")                                        \
    X(0x200000, clone_child_cleartid, "CLONE_CHILD_CLEARTID")                                      \
    X(0x400000, clone_detached, "CLONE_DETACHED")                                                  \
    X(0x800000, clone_untraced, "CLONE_UNTRACED")                                                  \
    X(0x1000000, clone_child_settid, "CLONE_CHILD_SETTID")                                         \
    X(0x2000000, clone_newcgroup, "CLONE_NEWCGROUP")                                               \
    X(0x4000000, clone_newuts, "CLONE_NEWUTS")                                                     \
    X(0x8000000, clone_newipc, "CLONE_NEWIPC")                                                     \
    X(0x10000000, clone_newuser, "CLONE_NEWUSER")                                                  \
    X(0x20000000, clone_newpid, "CLONE_NEWPID")                                                    \
    X(0x40000000, clone_newnet, "CLONE_NEWNET")                                                    \
    X(0x80000000, clone_io, "CLONE_IO")                                                            \
    X(0x100000000, clone_clear_sighand, "CLONE_CLEAR_SIGHAND")                                     \
    X(0x200000000, clone_into_cgroup, "CLONE_INTO_CGROUP")

namespace linux_abi {

enum : uint64_t {
#define X(value, name, linux_name) name = value,
    CLONE_FLAGS(X)
#undef X
        csignal = 0xff,   // of clone's flags: the exit signal
    clone_newtime = 0x80, // of clone3's
};

} // namespace linux_abi

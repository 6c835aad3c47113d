// Advisory locks on files: fcntl(2)'s record locks, of processes and of open file descriptions, and
// flock(2)'s.
//
// A vnode gets its list at the first lock; it is guarded by a sleep lock of its own. The list is in
// Linux's order, which F_GETLK tells: owners by their first lock, and an owner's locks by their
// first byte. Locks of one kind that touch are one.
#pragma once

#include "kernel/files/file.h"
#include "kernel/files/vnode.h"

enum class lock_domain : uint8_t {
    record,
    whole_file
}; // fcntl; flock: the two do not see each other

struct file_lock_request {
    lock_domain domain;
    // Who holds it: the fd_table of the process (POSIX) or the file (OFD and flock).
    const void* owner;
    int32_t pid; // as F_GETLK reports it; -1 for an open file description
    enum kind_t : uint8_t { shared, exclusive, none } kind;
    uint64_t first, last; // bytes, both included
    // The owner if it is a process: whose locks go when it closes a descriptor of the file, and
    // which is not let into a circle of processes that wait for each other.
    fd_table* table = nullptr;
};

// Where the lock was asked for. A process's lock is for a file that it has open, but another thread
// may have closed the descriptor while this one waited.
struct file_lock_place {
    int fd;
    const file* is;
};

// How many locks an ordinary user may have: those that a process keeps apart with others between
// them count one by one.
inline constexpr uint64_t file_locks_per_user = 16384;

// Sets or (kind none) takes away. EAGAIN on a conflict, or waits for its end: EDEADLK if that waits
// for the caller, EBADF if a process's lock came when its descriptor was closed, restartsys on a
// signal. ENOMEM; ENOLCK beyond file_locks_per_user. May sleep.
status file_lock_set(vnode& node, const file_lock_request& request, const file_lock_place& place,
                     bool wait);
// The first lock that is in the way of `request`; false if there is none. May sleep.
bool file_lock_conflict(vnode& node, const file_lock_request& request, file_lock_request& found);

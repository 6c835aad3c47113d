// Advisory locks on files: fcntl(2)'s record locks, of processes and of open file descriptions, and
// flock(2)'s.
//
// A vnode gets its list at the first lock; it is guarded by a spin lock of its own.
#pragma once

#include "kernel/vnode.h"

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
};

// Sets or (kind none) takes away. EAGAIN on a conflict, or waits for its end: restartsys on a
// signal. ENOMEM.
status file_lock_set(vnode& node, const file_lock_request& request, bool wait);
// A lock that is in the way of `request`; false if there is none.
bool file_lock_conflict(vnode& node, const file_lock_request& request, file_lock_request& found);
// The owner closed a descriptor of this file (POSIX), or the description ended: all its locks go.
void file_locks_closed(vnode& node, const void* owner);
void file_locks_destroy(vnode& node);

// Named points of the kernel at which a test can hold the threads that come there, so that it
// brings about an order of events that no program could force.
//
// A process with the superuser's rights writes "+NAME" to /proc/sys/kernel/sync_points. From then
// on its descendants stop at that point, wherever they run, until it writes "-NAME" or ends.
// "+NAME TID N" holds one thread, of itself or a descendant, when it comes there for the N-th time;
// that is gone when it has been held. Read, the file tells for each point who holds it and which
// threads are there. Only in builds with SPORK_CHECKS; there a point that nobody holds costs one
// load.
#pragma once

#include "lib/result.h"

#include <atomic>
#include <cstdint>
#include <string_view>

class text_buffer;

// The last three are in all kinds of calls. A thread that holds a lock is not stopped at `lock`,
// nor for locks below a process's.
#define SYNC_POINTS(X)                                                                             \
    X(vfork_waits)      /* the parent, before it goes to sleep */                                  \
    X(vfork_releases)   /* the child, before its parent is woken, by exec or exit */               \
    X(vfork_released)   /* ... and after */                                                        \
    X(exec_is_ready)    /* all is made ready; the other threads of the process still run */        \
    X(exec_commits)     /* at the point of no return, before the old address space is left */      \
    X(exec_has_left)    /* the old address space is left or gone; the new one not yet entered */   \
    X(exec_enters)      /* others see the new address space, which is empty yet */                 \
    X(exit_begins)      /* before anything of the thread is gone */                                \
    X(exit_leaves)      /* its address space is let go of; its files and family are not yet */     \
    X(object_found)     /* a reference to it has been got, and it is not yet used */               \
    X(about_to_publish) /* all that can fail has been done, and nobody can see it yet */           \
    X(page_comes)       /* busy, and not yet read from swap; nobody holds a lock for it */         \
    X(page_goes)        /* busy, and not yet written to swap, likewise */                          \
    X(lock)             /* about to take one, with none held */

enum class sync_point : uint8_t {
#define X(name) name,
    SYNC_POINTS(X)
#undef X
};

// The running thread has come there. No spin lock held; whoever holds a sleep lock keeps it
// meanwhile.
void at_sync_point(sync_point where);

void sync_points_show(text_buffer& out);
// EPERM, EINVAL; EOPNOTSUPP in builds without.
status sync_points_store(std::string_view text);

// ---- What a point costs that nobody holds

#if SPORK_CHECKS
extern std::atomic<uint32_t> sync_points_held; // a bit for each
void sync_point_reached(sync_point where);
inline void at_sync_point(sync_point where) {
    if (sync_points_held.load(std::memory_order_relaxed) >> unsigned(where) & 1) [[unlikely]]
        sync_point_reached(where);
}
#else
inline void at_sync_point(sync_point) {}
#endif

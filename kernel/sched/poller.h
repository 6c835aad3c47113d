// Waiting for several things at once, as poll(2) and select(2) do.
#pragma once

#include "lib/avl_tree.h"
#include "lib/lock.h"
#include "lib/no_alloc.h"
#include "lib/result.h"
#include "lib/types.h"
#include "lib/wait_queue.h"
#include "vm/phys/pool.h"

class poller;
struct thread;

// Belongs to a file-like object; it calls notify() after every change that poll() could see.
// The object must outlive its pollers' registrations: a poller holds references to its files.
class poll_queue {
public:
    NO_ALLOC void notify();

private:
    friend class poller;
    // The registration of one poller.
    struct entry {
        avl_node on_queue; // under the queue's lock
        poll_queue* queue = nullptr;
        poller* owner = nullptr;
        entry* next = nullptr; // of the same poller
    };
    static pool<entry> all_entries;
    // The first whose poller is `p` or one behind it.
    entry* first_from(const poller& p) REQUIRES(lock_);

    spin_lock lock_{lock_rank::poll, "poll_queue"};
    // By poller, of which each has one: as many as there are threads, also if they ask for one thing
    // a million times.
    avl_tree<entry, &entry::on_queue> entries_ GUARDED_BY(lock_);
};

// One call of poll or select, on the caller's stack. Registers at the first scan, then sleeps, then
// scans again.
class poller {
public:
    poller() = default;
    ~poller(); // unregisters
    // Called by file::poll. Remembers ENOMEM for wait().
    void add(poll_queue& queue);
    // Sleeps until some queue notifies (or has since the last wait), timedout at `deadline`, intr
    // on a signal.
    status wait(nanos_t deadline);
    // Of its registrations.
    uint64_t bytes() const { return count_ * sizeof(poll_queue::entry); }

private:
    friend class poll_queue;
    spin_lock lock_{lock_rank::wait, "poller"};
    wait_queue sleeping_ GUARDED_BY(lock_);
    bool notified_ GUARDED_BY(lock_) = false;
    bool no_memory_ OWNED_BY_THREAD = false;
    poll_queue::entry* entries_ OWNED_BY_THREAD = nullptr;
    uint64_t count_ OWNED_BY_THREAD = 0; // of them
};

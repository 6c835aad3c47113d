// Waiting for several things at once: the one mechanism of poll(2), select(2) and epoll(7).
//
// What can be waited for has a poll_queue, and tells it of changes. Who waits is a poller: it enters
// itself in the queues of what it waits for, and is told. A poll or select is one poller for all its
// files (poll_sleeper); an epoll has one for each (kernel/files/epoll.cc), which stays.
#pragma once

#include "lib/assert.h"
#include "lib/avl_tree.h"
#include "lib/lock.h"
#include "lib/no_alloc.h"
#include "lib/result.h"
#include "lib/types.h"
#include "lib/wait_queue.h"
#include "vm/phys/pool.h"

class poller;
struct thread;

// What a poll_queue lies in that may end before the files that are polled through it: an entry keeps
// it. Reference counted by whoever implements it.
class poll_keeper {
public:
    virtual void keep() = 0;
    virtual void let_go() = 0;

protected:
    ~poll_keeper() = default;
};

// Belongs to a file-like object; it calls notify() after every change that poll() could see.
// The object must outlive its pollers' entries: a poller refers to its files, or leaves when they
// end, or else add() is told of a keeper.
class poll_queue {
public:
    // One of `events` (POLL*) may hold now that did not.
    NO_ALLOC void notify(uint32_t events = ~uint32_t{0});
    // The same by a poller that is being told.
    NO_ALLOC void notify_nested(uint32_t events);

private:
    friend class poller;
    // One poller's place in it.
    struct entry {
        avl_node on_queue; // under the queue's lock
        poll_queue* queue = nullptr;
        poll_keeper* keeper = nullptr;
        poller* owner = nullptr;
        entry* next = nullptr; // of the same poller
    };
    static pool<entry> all_entries;
    // The first whose poller is `p` or one behind it.
    entry* first_from(const poller& p) REQUIRES(lock_);
    NO_ALLOC void tell(uint32_t events) REQUIRES(lock_);

    spin_lock lock_{lock_rank::poll, "poll_queue"};
    // By poller, of which each has one, also if it asks for one thing a million times.
    avl_tree<entry, &entry::on_queue> entries_ GUARDED_BY(lock_);
};

class poller {
public:
    poller() = default;
    // Who derives from it leaves first: he is told as long as he is in a queue.
    virtual ~poller() { ASSERT(!entries_); }
    // Called by file::poll. Remembers ENOMEM in no_memory().
    void add(poll_queue& queue, poll_keeper* keeper = nullptr);
    // Leaves all queues: it is not told any more, and nobody is still telling it.
    void leave();
    bool no_memory() const { return no_memory_; }
    // Of its entries.
    uint64_t bytes() const { return count_ * sizeof(poll_queue::entry); }

private:
    friend class poll_queue;
    // One of `events` may hold now. Of the pollers that are exclusive() only so many are told that
    // one returns true. A lock of rank poll is held.
    virtual bool told(uint32_t events) = 0;
    virtual bool exclusive() const { return false; }

    // Changed by who waits, or under the epoll's lock.
    bool no_memory_ OWNED_BY_THREAD = false;
    poll_queue::entry* entries_ OWNED_BY_THREAD = nullptr;
    uint64_t count_ OWNED_BY_THREAD = 0; // of them
};

// One call of poll or select, on the caller's stack. Enters its queues at the first scan, then
// sleeps, then scans again.
class poll_sleeper final : public poller {
public:
    ~poll_sleeper() override { leave(); }
    // Sleeps until some queue notifies (or has since the last wait), timedout at `deadline`, intr
    // on a signal. ENOMEM.
    status wait(nanos_t deadline);

private:
    bool told(uint32_t) override;

    spin_lock lock_{lock_rank::wait, "poller"};
    wait_queue sleeping_ GUARDED_BY(lock_);
    bool notified_ GUARDED_BY(lock_) = false;
};

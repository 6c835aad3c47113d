#include "kernel/sched/poller.h"

#include "lib/long_work.h"

constinit pool<poll_queue::entry> poll_queue::all_entries{"poll_entry"};

poll_queue::entry* poll_queue::first_from(const poller& p) {
    return entries_.first_where([&](const entry& e) { return e.owner >= &p; });
}

void poll_queue::tell(uint32_t events) {
    bool taken = false;
    for (entry* e = entries_.first(); e; e = entries_.next(*e)) {
        const bool exclusive = e->owner->exclusive();
        if (exclusive && taken)
            continue;
        const bool took = e->owner->told(events);
        taken = taken || (exclusive && took);
    }
}

void poll_queue::notify(uint32_t events) {
    lock_guard guard(lock_);
    tell(events);
}

// From the queue of something to that of an epoll that waits for it: these make no circle
// (kernel/files/epoll.cc).
void poll_queue::notify_nested(uint32_t events) {
    lock_guard guard(lock_, nested_lock());
    tell(events);
}

void poller::leave() {
    while (poll_queue::entry* entry = entries_) {
        entries_ = entry->next;
        {
            poll_queue& queue = *entry->queue;
            lock_guard guard(queue.lock_);
            queue.entries_.erase(*entry);
        }
        if (entry->keeper)
            entry->keeper->let_go();
        poll_queue::all_entries.destroy(entry);
        long_work::pause();
    }
}

void poller::add(poll_queue& queue, poll_keeper* keeper) {
    {
        lock_guard guard(queue.lock_);
        const poll_queue::entry* there = queue.first_from(*this);
        if (there && there->owner == this)
            return;
    }
    poll_queue::entry* entry = poll_queue::all_entries.create();
    if (!entry) {
        no_memory_ = true;
        return;
    }
    if (keeper)
        keeper->keep();
    entry->queue = &queue;
    entry->keeper = keeper;
    entry->owner = this;
    entry->next = entries_;
    entries_ = entry;
    count_++;
    lock_guard guard(queue.lock_);
    queue.entries_.insert_before(queue.first_from(*this), *entry);
}

bool poll_sleeper::told(uint32_t) {
    lock_guard guard(lock_);
    notified_ = true;
    sleeping_.wake_one(); // its only one
    return true;
}

status poll_sleeper::wait(nanos_t deadline) {
    if (no_memory())
        return fail(Errno::nomem);
    lock_guard guard(lock_);
    while (!notified_)
        TRY(sleeping_.wait_interruptible(lock_, "poll", deadline));
    notified_ = false;
    return {};
}

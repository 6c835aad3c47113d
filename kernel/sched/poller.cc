#include "kernel/sched/poller.h"

#include "lib/long_work.h"

constinit pool<poll_queue::entry> poll_queue::all_entries{"poll_entry"};

poll_queue::entry* poll_queue::first_from(const poller& p) {
    return entries_.first_where([&](const entry& e) { return e.owner >= &p; });
}

void poll_queue::notify() {
    lock_guard guard(lock_);
    for (entry* e = entries_.first(); e; e = entries_.next(*e)) {
        poller& p = *e->owner;
        lock_guard poller_guard(p.lock_);
        p.notified_ = true;
        p.sleeping_.wake_all();
    }
}

poller::~poller() {
    while (poll_queue::entry* entry = entries_) {
        entries_ = entry->next;
        {
            poll_queue& queue = *entry->queue;
            lock_guard guard(queue.lock_);
            queue.entries_.erase(*entry);
        }
        poll_queue::all_entries.destroy(entry);
        long_work::pause();
    }
}

void poller::add(poll_queue& queue) {
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
    entry->queue = &queue;
    entry->owner = this;
    entry->next = entries_;
    entries_ = entry;
    count_++;
    lock_guard guard(queue.lock_);
    queue.entries_.insert_before(queue.first_from(*this), *entry);
}

status poller::wait(nanos_t deadline) {
    if (no_memory_)
        return fail(Errno::nomem);
    lock_guard guard(lock_);
    while (!notified_)
        TRY(sleeping_.wait_interruptible(lock_, "poll", deadline));
    notified_ = false;
    return {};
}

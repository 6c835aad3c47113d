#include "kernel/sched/poller.h"

#include "lib/long_work.h"
#include "vm/phys/pool.h"

static constinit pool<poll_entry> poll_entries{"poll_entry"};

poll_entry* poll_queue::first_from(const poller& p) {
    return entries_.first_where([&](const poll_entry& e) { return e.owner >= &p; });
}

void poll_queue::notify() {
    lock_guard guard(lock_);
    for (poll_entry* entry = entries_.first(); entry; entry = entries_.next(*entry)) {
        poller& p = *entry->owner;
        lock_guard poller_guard(p.lock_);
        p.notified_ = true;
        p.sleeping_.wake_all();
    }
}

poller::~poller() {
    while (poll_entry* entry = entries_) {
        entries_ = entry->next;
        {
            poll_queue& queue = *entry->queue;
            lock_guard guard(queue.lock_);
            queue.entries_.erase(*entry);
        }
        poll_entries.destroy(entry);
        long_work::pause();
    }
}

void poller::add(poll_queue& queue) {
    {
        lock_guard guard(queue.lock_);
        const poll_entry* there = queue.first_from(*this);
        if (there && there->owner == this)
            return;
    }
    poll_entry* entry = poll_entries.create();
    if (!entry) {
        no_memory_ = true;
        return;
    }
    entry->queue = &queue;
    entry->owner = this;
    entry->next = entries_;
    entries_ = entry;
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

#include "kernel/fs/file_lock.h"

#include "lib/wait_queue.h"
#include "vm/pool.h"

#include <algorithm>

namespace {
struct held_lock {
    list_node on_list;
    file_lock_request is;
};
constinit pool<held_lock> held_locks_pool{"file_lock"};
} // namespace

struct file_lock_list {
    spin_lock guard{lock_rank::pipe_state, "file locks"};
    list<held_lock, &held_lock::on_list> held GUARDED_BY(guard);
    wait_queue waiters; // guard: guard
};
static constinit pool<file_lock_list> lock_lists{"file_lock_list"};

static expected<file_lock_list*> locks_of(vnode& node) {
    if (file_lock_list* list = node.advisory_locks.load(std::memory_order_acquire))
        return list;
    file_lock_list* fresh = lock_lists.create();
    if (!fresh)
        return fail(Errno::nomem);
    file_lock_list* expected_list = nullptr;
    if (node.advisory_locks.compare_exchange_strong(expected_list, fresh))
        return fresh;
    lock_lists.destroy(fresh);
    return expected_list;
}

static bool overlap(const file_lock_request& a, const file_lock_request& b) {
    return a.domain == b.domain && a.first <= b.last && b.first <= a.last;
}

static held_lock* in_the_way(file_lock_list& locks, const file_lock_request& request)
    REQUIRES(locks.guard) {
    if (request.kind == file_lock_request::none)
        return nullptr;
    for (held_lock& h : locks.held)
        if (h.is.owner != request.owner && overlap(h.is, request) &&
            (h.is.kind == file_lock_request::exclusive ||
             request.kind == file_lock_request::exclusive))
            return &h;
    return nullptr;
}

// Cuts the owner's locks out of the request's range and puts the request's own there. `fresh` and
// `rest` are unused elements; what is used of them is set to null.
static void replace(file_lock_list& locks, const file_lock_request& request, held_lock*& fresh,
                    held_lock*& rest) REQUIRES(locks.guard) {
    list<held_lock, &held_lock::on_list> gone;
    for (held_lock* h = locks.held.front(); h;) {
        held_lock* next = locks.held.next(*h);
        if (h->is.owner == request.owner && overlap(h->is, request)) {
            bool before = h->is.first<request.first, after = h->is.last> request.last;
            if (before && after) {
                // Only one lock can reach over both edges.
                rest->is = h->is;
                rest->is.first = request.last + 1;
                locks.held.push_back(*std::exchange(rest, nullptr));
                h->is.last = request.first - 1;
            } else if (before) {
                h->is.last = request.first - 1;
            } else if (after) {
                h->is.first = request.last + 1;
            } else {
                locks.held.remove(*h);
                gone.push_back(*h);
            }
        }
        h = next;
    }
    if (request.kind != file_lock_request::none) {
        fresh->is = request;
        locks.held.push_back(*std::exchange(fresh, nullptr));
    }
    while (held_lock* h = gone.pop_front())
        held_locks_pool.destroy(h);
    locks.waiters.wake_all();
}

status file_lock_set(vnode& node, const file_lock_request& request, bool wait) {
    file_lock_list& locks = *TRY(locks_of(node));
    held_lock* fresh = held_locks_pool.create();
    held_lock* rest = held_locks_pool.create();
    status result;
    if (!fresh || !rest) {
        result = fail(Errno::nomem);
    } else {
        lock_guard guard(locks.guard);
        while (result && in_the_way(locks, request)) {
            if (!wait)
                result = fail(Errno::again);
            else if (!locks.waiters.wait_interruptible(locks.guard, "file_lock"))
                result = fail(Errno::restartsys);
        }
        if (result)
            replace(locks, request, fresh, rest);
    }
    held_locks_pool.destroy(fresh);
    held_locks_pool.destroy(rest);
    return result;
}

bool file_lock_conflict(vnode& node, const file_lock_request& request, file_lock_request& found) {
    file_lock_list* locks = node.advisory_locks.load(std::memory_order_acquire);
    if (!locks)
        return false;
    lock_guard guard(locks->guard);
    held_lock* h = in_the_way(*locks, request);
    if (h)
        found = h->is;
    return h;
}

void file_locks_closed(vnode& node, const void* owner) {
    file_lock_list* locks = node.advisory_locks.load(std::memory_order_acquire);
    if (!locks)
        return;
    lock_guard guard(locks->guard);
    for (held_lock* h = locks->held.front(); h;) {
        held_lock* next = locks->held.next(*h);
        if (h->is.owner == owner) {
            locks->held.remove(*h);
            held_locks_pool.destroy(h);
        }
        h = next;
    }
    locks->waiters.wake_all();
}

void file_locks_destroy(vnode& node) {
    file_lock_list* locks = node.advisory_locks.load();
    if (!locks)
        return;
    {
        lock_guard guard(locks->guard);
        ASSERT(locks->held.empty()); // every owner holds the file open
    }
    lock_lists.destroy(locks);
}

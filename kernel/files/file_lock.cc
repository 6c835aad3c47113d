#include "kernel/files/file_lock.h"

#include "kernel/files/file.h"
#include "kernel/files/permission.h"
#include "kernel/process/process.h"
#include "kernel/process/user_account.h"
#include "lib/wait_queue.h"
#include "vm/phys/pool.h"

#include <algorithm>

namespace {
struct held_lock;

// One for all files, since the processes of a circle may wait for the locks of several.
spin_lock waits_lock{lock_rank::lock_waits, "file lock waits"};
} // namespace

// A thread that waits for a lock; lives on its stack.
struct file_lock_wait {
    list_node on_lock;
    held_lock* obstacle GUARDED_BY(waits_lock) = nullptr; // null once that has changed
    wait_queue changed;                                   // guard: waits_lock
    // A process's wait is on the list of its table, for the search for circles.
    fd_table* const table;
    file_lock_wait* next_of_table GUARDED_BY(waits_lock) = nullptr;
};

namespace {
struct held_lock {
    list_node on_list;
    file_lock_request is;
    user_charge charge;
    list<file_lock_wait, &file_lock_wait::on_lock> waits GUARDED_BY(waits_lock);
};
constinit pool<held_lock> held_locks_pool{"file_lock"};
} // namespace

struct file_lock_list {
    sleep_lock guard{lock_rank::file_locks, "file locks"};
    list<held_lock, &held_lock::on_list> held GUARDED_BY(guard);
};

namespace {

constinit pool<file_lock_list> lock_lists{"file_lock_list"};

expected<file_lock_list*> locks_of(vnode& node) {
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

bool same_owner(const file_lock_request& a, const file_lock_request& b) {
    return a.domain == b.domain && a.owner == b.owner;
}

bool overlap(const file_lock_request& a, const file_lock_request& b) {
    return a.domain == b.domain && a.first <= b.last && b.first <= a.last;
}

bool touch(const file_lock_request& a, const file_lock_request& b) {
    return a.domain == b.domain && (a.first == 0 || a.first - 1 <= b.last) &&
           (b.first == 0 || b.first - 1 <= a.last);
}

held_lock* first_in_the_way(file_lock_list& locks, const file_lock_request& request)
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

// ---- Waiting ---------------------------------------------------------------------------------

// Whether `table` waits, directly or by others, for a lock of `whom`. As on Linux, a process of
// which several threads wait is followed through one of them, and at most ten steps are made:
// threads can make a circle that the caller is no part of.
bool waits_for(const fd_table* table, const fd_table* whom) REQUIRES(waits_lock) {
    for (int steps = 0; table && steps <= 10; steps++) {
        if (table == whom)
            return true;
        const file_lock_wait* w = table->lock_waits;
        table = w && w->obstacle ? w->obstacle->is.table : nullptr;
    }
    return false;
}

// Makes it known that the caller waits for `obstacle`. EDEADLK.
status announce_wait(file_lock_list& locks, file_lock_wait& w, held_lock& obstacle)
    REQUIRES(locks.guard) {
    lock_guard guard(waits_lock);
    if (w.table && waits_for(obstacle.is.table, w.table))
        return fail(Errno::deadlk);
    w.obstacle = &obstacle;
    obstacle.waits.push_back(w);
    if (w.table)
        w.next_of_table = std::exchange(w.table->lock_waits, &w);
    return {};
}

// Sleeps until what was announced has changed. restartsys.
status finish_wait(file_lock_wait& w) {
    lock_guard guard(waits_lock);
    status slept;
    while (w.obstacle && slept)
        slept = w.changed.wait_interruptible(waits_lock, "file_lock");
    if (w.table) {
        file_lock_wait** link = &w.table->lock_waits;
        while (*link != &w)
            link = &(*link)->next_of_table;
        *link = w.next_of_table;
    }
    if (!w.obstacle)
        return {};
    std::exchange(w.obstacle, nullptr)->waits.remove(w);
    return fail(Errno::restartsys);
}

// Lets those look again who wait for a lock that is going to be smaller, weaker or gone. Whoever
// still has to wait says anew for whom: nobody is part of a circle by a lock that is no more.
void has_changed(held_lock& h) {
    lock_guard guard(waits_lock);
    while (file_lock_wait* w = h.waits.pop_front()) {
        w->obstacle = nullptr;
        w->changed.wake_all();
    }
}

// Out of the list.
void take_away(file_lock_list& locks, held_lock& h) REQUIRES(locks.guard) {
    locks.held.remove(h);
    has_changed(h);
}

// ---- Changing --------------------------------------------------------------------------------

expected<held_lock*> make_lock(uint64_t limit) {
    auto charge = TRY(user_charge::take(current_credentials().uid, user_resource::file_locks, 1,
                                        limit, Errno::nolck));
    held_lock* h = held_locks_pool.create();
    if (!h)
        return fail(Errno::nomem);
    h->charge = std::move(charge);
    return h;
}

// The owner's lock of another kind that reaches over both edges of the request, and will be two.
held_lock* to_be_split(file_lock_list& locks, const file_lock_request& request)
    REQUIRES(locks.guard) {
    for (held_lock& h : locks.held)
        if (same_owner(h.is, request) && h.is.kind != request.kind && h.is.first < request.first &&
            h.is.last > request.last)
            return &h;
    return nullptr;
}

// Whether an owner's lock is no more when he has got `request`.
bool taken_in(const file_lock_request& is, const file_lock_request& request) {
    return same_owner(is, request) &&
           (is.kind == request.kind ? touch(is, request)
                                    : is.first >= request.first && is.last <= request.last);
}

bool takes_one_in(file_lock_list& locks, const file_lock_request& request) REQUIRES(locks.guard) {
    for (held_lock& h : locks.held)
        if (taken_in(h.is, request))
            return true;
    return false;
}

// Takes the locks that `request` takes in out of the list, and makes it as large as those of its
// kind; cuts the others. Returns before which lock a new one comes: null for the end.
held_lock* make_room(file_lock_list& locks, file_lock_request& request,
                     list<held_lock, &held_lock::on_list>& gone) REQUIRES(locks.guard) {
    held_lock* before = nullptr;
    for (held_lock* h = locks.held.front(); h;) {
        held_lock* next = locks.held.next(*h);
        if (taken_in(h->is, request)) {
            if (h->is.kind == request.kind) {
                request.first = std::min(request.first, h->is.first);
                request.last = std::max(request.last, h->is.last);
            }
            take_away(locks, *h);
            gone.push_back(*h);
            before = next;
        } else if (same_owner(h->is, request)) {
            if (overlap(h->is, request))
                has_changed(*h);
            if (h->is.first >= request.first) {
                h->is.first = std::max(h->is.first, request.last + 1);
                return h;
            }
            h->is.last = std::min(h->is.last, request.first - 1);
            before = next;
        }
        h = next;
    }
    return before;
}

// Gives the owner the request's range as the request says. `rest` is for the second half of
// `split`, if there is one. `fresh` is for the lock, if it is to be one and takes none in.
void replace(file_lock_list& locks, file_lock_request request, held_lock* split, held_lock* rest,
             held_lock* fresh) REQUIRES(locks.guard) {
    if (split) {
        rest->is = split->is;
        rest->is.first = request.last + 1;
        has_changed(*split);
        split->is.last = request.last;
        locks.held.insert_after(*split, *rest);
    }
    list<held_lock, &held_lock::on_list> gone;
    held_lock* before = make_room(locks, request, gone);
    if (request.kind != file_lock_request::none) {
        held_lock* is = fresh ? fresh : gone.pop_front();
        is->is = request;
        if (before)
            locks.held.insert_before(*before, *is);
        else
            locks.held.push_back(*is);
    }
    while (held_lock* h = gone.pop_front())
        held_locks_pool.destroy(h);
}

void take_all_away(file_lock_list& locks, const void* owner) REQUIRES(locks.guard) {
    for (held_lock* h = locks.held.front(); h;) {
        held_lock* next = locks.held.next(*h);
        if (h->is.owner == owner) {
            take_away(locks, *h);
            held_locks_pool.destroy(h);
        }
        h = next;
    }
}

// Takes away the owner's locks of the request's file that are of another kind.
void let_go_other_kind(file_lock_list& locks, const file_lock_request& request)
    REQUIRES(locks.guard) {
    for (held_lock& h : locks.held)
        if (same_owner(h.is, request) && h.is.kind != request.kind) {
            take_away(locks, h);
            held_locks_pool.destroy(&h);
            return; // it has one lock for the whole file
        }
}

// Whether the descriptor by which a process asks still is for the file.
bool is_open(const file_lock_request& request, const file_lock_place& place) {
    auto f = request.table->get(place.fd);
    return f && f->get() == place.is;
}

status set_without_conflict(file_lock_list& locks, const file_lock_request& request)
    REQUIRES(locks.guard) {
    const uint64_t limit = is_superuser() ? user_charge::no_limit : file_locks_per_user;
    held_lock* split = to_be_split(locks, request);
    held_lock *fresh = nullptr, *rest = nullptr;
    if (request.kind != file_lock_request::none && !takes_one_in(locks, request))
        fresh = TRY(make_lock(limit));
    if (split) {
        auto second_half = make_lock(limit);
        if (!second_half) {
            held_locks_pool.destroy(fresh);
            return fail(second_half.error());
        }
        rest = *second_half;
    }
    replace(locks, request, split, rest, fresh);
    return {};
}

} // namespace

static status set(file_lock_list& locks, const file_lock_request& request, bool wait) {
    file_lock_wait w{.table = request.table};
    lock_guard guard(locks.guard);
    // flock gives up what it has before it asks for another kind: two that share a file and both
    // want it alone would wait for each other for ever.
    if (request.domain == lock_domain::whole_file)
        let_go_other_kind(locks, request);
    while (held_lock* obstacle = first_in_the_way(locks, request)) {
        if (!wait)
            return fail(Errno::again);
        TRY(announce_wait(locks, w, *obstacle));
        guard.unlock();
        status slept = finish_wait(w);
        guard.lock();
        TRY(std::move(slept));
    }
    return set_without_conflict(locks, request);
}

status file_lock_set(vnode& node, const file_lock_request& request, const file_lock_place& place,
                     bool wait) {
    TRY(set(*TRY(locks_of(node)), request, wait));
    // A process's lock that is granted after its descriptor was closed would be nobody's to take
    // away. Whoever closes takes the locks away after that, so that one sees the other.
    if (request.table && request.kind != file_lock_request::none && !is_open(request, place)) {
        file_locks_closed(node, request.owner);
        return fail(Errno::badf);
    }
    return {};
}

bool file_lock_conflict(vnode& node, const file_lock_request& request, file_lock_request& found) {
    file_lock_list* locks = node.advisory_locks.load(std::memory_order_acquire);
    if (!locks)
        return false;
    lock_guard guard(locks->guard);
    held_lock* h = first_in_the_way(*locks, request);
    if (h)
        found = h->is;
    return h;
}

void file_locks_closed(vnode& node, const void* owner) {
    file_lock_list* locks = node.advisory_locks.load(std::memory_order_acquire);
    if (!locks)
        return;
    lock_guard guard(locks->guard);
    take_all_away(*locks, owner);
}

void file_locks_destroy(vnode& node) NO_THREAD_SAFETY_ANALYSIS { // nobody else has it
    file_lock_list* locks = node.advisory_locks.load();
    if (!locks)
        return;
    ASSERT(locks->held.empty()); // every owner holds the file open
    lock_lists.destroy(locks);
}

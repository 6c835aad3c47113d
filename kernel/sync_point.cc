#include "kernel/sync_point.h"

#include "arch/timer.h"
#include "kernel/fs/text_buffer.h"
#include "kernel/process.h"
#include "kernel/sched.h"

#include <iterator>
#include <utility>

#if SPORK_CHECKS

std::atomic<uint32_t> sync_points_held{0};

namespace {

constexpr const char* names[] = {
#define X(name) #name,
    SYNC_POINTS(X)
#undef X
};

struct point {
    pid_t holder = 0;     // 0: nobody holds it
    pid_t there[16] = {}; // threads that are held; 0: free
};

spin_lock points_lock{lock_rank::wait, "sync points"};
point points[std::size(names)] GUARDED_BY(points_lock);

bool holds(pid_t holder, sync_point where) {
    lock_guard guard(points_lock);
    return points[unsigned(where)].holder == holder;
}

// Whether `ancestor` is one of p's. A holder that has ended is nobody's.
bool descends(process& p, pid_t ancestor) {
    lock_guard tree(process_tree_lock);
    for (process* a = p.parent; a; a = a->parent)
        if (a->pid == ancestor && a->state != process_state::zombie)
            return true;
    return false;
}

void note(sync_point where, pid_t was, pid_t is) {
    lock_guard guard(points_lock);
    for (pid_t& slot : points[unsigned(where)].there)
        if (slot == was) {
            slot = is;
            return;
        }
}

} // namespace

void sync_point_reached(sync_point where) {
    constexpr nanos_t often = 200'000;
    thread& self = current_thread();
    pid_t holder;
    {
        lock_guard guard(points_lock);
        holder = points[unsigned(where)].holder;
    }
    if (holder == 0 || self.kernel_thread || !descends(*self.proc, holder))
        return;
    note(where, 0, self.tid);
    while (holds(holder, where) && descends(*self.proc, holder))
        sched_sleep_until(now() + often);
    note(where, self.tid, 0);
}

void sync_points_show(text_buffer& out) {
    for (size_t i = 0; i < std::size(names); i++) {
        point shown;
        {
            lock_guard guard(points_lock);
            shown = points[i];
        }
        out.print("%s %d:", names[i], shown.holder);
        for (pid_t tid : shown.there)
            if (tid)
                out.print(" %d", tid);
        out.append('\n');
    }
}

status sync_points_store(std::string_view text) {
    if (!current_credentials().superuser())
        return fail(Errno::perm);
    if (text.empty() || (text[0] != '+' && text[0] != '-'))
        return fail(Errno::inval);
    const pid_t self = current_process().pid;
    for (size_t i = 0; i < std::size(names); i++) {
        if (text.substr(1) != names[i])
            continue;
        lock_guard guard(points_lock);
        point& p = points[i];
        if (text[0] == '+') {
            p.holder = self; // a holder that has ended has none of its descendants there
            sync_points_held.fetch_or(1u << i);
        } else if (std::exchange(p.holder, 0) != 0) {
            sync_points_held.fetch_and(~(1u << i));
        }
        return {};
    }
    return fail(Errno::inval);
}

#else

void sync_points_show(text_buffer&) {}
status sync_points_store(std::string_view) { return fail(Errno::opnotsupp); }

#endif

#include "kernel/process/sync_point.h"

#include "vm/uvm_busy.h"

#include "arch/cpu.h"
#include "arch/timer.h"
#include "kernel/base/text_buffer.h"
#include "kernel/process/process.h"
#include "kernel/sched/sched.h"
#include "lib/lock_watch.h"

#include <algorithm>
#include <iterator>
#include <utility>

#if SPORK_CHECKS

std::atomic<uint32_t> sync_points_held{0};
std::atomic<bool> locks_watched{false};

namespace {

constexpr const char* names[] = {
#define X(name) #name,
    SYNC_POINTS(X)
#undef X
};

struct point {
    pid_t holder = 0;     // 0: nobody holds it
    pid_t only = 0;       // the thread that it is held for; 0: all
    uint64_t times = 0;   // how often that one has still to come there
    pid_t there[16] = {}; // threads that are held; 0: free
};

spin_lock points_lock{lock_rank::wait, "sync points"};
point points[std::size(names)] GUARDED_BY(points_lock);
std::atomic<pid_t> watched_thread{0}; // that of sync_point::lock

bool holds(pid_t holder, sync_point where) {
    lock_guard guard(points_lock);
    return points[unsigned(where)].holder == holder;
}

// Whether `ancestor` is one of p's, or p itself. A holder that has ended is nobody's.
bool descends(process& p, pid_t ancestor) {
    lock_guard tree(process_tree_lock);
    for (process* a = &p; a; a = a->parent)
        if (a->pid == ancestor && a->state != process_state::zombie)
            return true;
    return false;
}

// The next word of a text, and what is left of it.
std::string_view next_word(std::string_view& text) {
    const size_t length = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, length);
    text = text.substr(std::min(length + 1, text.size()));
    return word;
}

// 0 when there is none. EINVAL.
expected<uint64_t> next_number(std::string_view& text) {
    uint64_t n = 0;
    for (char c : next_word(text)) {
        if (c < '0' || c > '9' || n > UINT32_MAX / 16)
            return fail(Errno::inval);
        n = n * 10 + uint64_t(c - '0');
    }
    return n;
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
    constexpr nanos_t often = 100'000;
    thread& self = current_thread();
    pid_t holder;
    {
        lock_guard guard(points_lock);
        point& p = points[unsigned(where)];
        holder = p.holder;
        // A process that holds a point for all holds its descendants, and not itself.
        if (p.only == 0) {
            if (holder == self.proc->pid)
                return;
        } else {
            if (p.only != self.tid || p.times == 0)
                return;
            p.times--;
            if (p.times != 0)
                return;
        }
    }
    if (holder == 0 || self.kernel_thread || !descends(*self.proc, holder))
        return;
    note(where, 0, self.tid);
    // Who holds a thread of his own process cannot end before that does.
    auto let_go = [&] { return holder == self.proc->pid && signal_kill_pending(self); };
    while (holds(holder, where) && descends(*self.proc, holder) && !let_go())
        sched_sleep_until(now() + often);
    note(where, self.tid, 0);
}

// What a held thread does takes locks, too.
void lock_wanted(lock_rank rank) {
    static std::atomic<bool> busy{false};
    thread* self = cpu::current();
    if (!self || !cpu::interrupts_enabled() || rank > lock_rank::process ||
        self->sleep_locks.count != 0 || cpu_held_locks().count != 0)
        return;
    if (self->tid != watched_thread.load(std::memory_order_relaxed) || busy.exchange(true))
        return;
    sync_point_reached(sync_point::lock);
    busy.store(false);
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
    const bool hold = text[0] == '+';
    text.remove_prefix(1);
    const std::string_view name = next_word(text);
    size_t i = 0;
    while (i < std::size(names) && name != names[i])
        i++;
    if (i == std::size(names))
        return fail(Errno::inval);
    const auto only = pid_t(TRY(next_number(text)));
    const uint64_t times = TRY(next_number(text));
    const bool for_one = i == unsigned(sync_point::lock);
    if (hold && (for_one && only == 0))
        return fail(Errno::inval);
    lock_guard guard(points_lock);
    point& p = points[i];
    p.holder = hold ? current_process().pid : 0; // who has ended has no descendants there
    p.only = only;
    p.times = times;
    if (for_one) {
        watched_thread.store(hold ? only : 0);
        locks_watched.store(hold);
    } else if (hold) {
        sync_points_held.fetch_or(1u << i);
    } else {
        sync_points_held.fetch_and(~(1u << i));
    }
    return {};
}

#else

void sync_points_show(text_buffer&) {}
status sync_points_store(std::string_view) { return fail(Errno::opnotsupp); }

#endif

void about_to_move_pages(page_way way) {
    at_sync_point(way == page_way::in ? sync_point::page_comes : sync_point::page_goes);
}

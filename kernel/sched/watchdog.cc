#include "kernel/sched/watchdog.h"

#include "arch/cpu.h"
#include "arch/thread.h"
#include "arch/timer.h"
#include "kernel/base/cmdline.h"
#include "kernel/base/panic.h"
#include "kernel/base/printk.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "kernel/sched/sched.h"
#include "lib/format.h"

#include <algorithm>
#include <cstring>

namespace {

// A minute: a processor that a busy host gives little of its time must have done something in it.
constexpr uint64_t default_seconds = 60;
constexpr unsigned looks_until_panic = 4; // in that time

uint64_t seconds() {
    static const uint64_t chosen = cmdline_number("watchdog=", default_seconds);
    return chosen;
}

// How many looks in a row have found the same.
class standing_still {
public:
    // `what` is of such a kind that 0 is nothing, and does not stand still.
    bool too_long(uint64_t what, uint64_t state) {
        looks_ = what != 0 && what == what_ && state == state_ ? looks_ + 1 : 0;
        what_ = what;
        state_ = state;
        return looks_ >= looks_until_panic;
    }

private:
    uint64_t what_ = 0, state_ = 0;
    unsigned looks_ = 0;
};

struct alignas(64) watch {
    timer_event event;
    std::atomic<uint64_t> looks{0}; // read by its neighbour
    // The CPU's own.
    standing_still in_kernel, first_in_queue, neighbour;
    unsigned without_interrupts = 0; // answers of the neighbour, one after the other
};
watch watches[max_cpus];

// "5/7 name", short enough for several in a message.
struct who {
    char text[40];
    explicit who(const thread& t) {
        format_to(text, sizeof text, "%d/%d %.15s", t.proc->pid, t.tid, t.name);
    }
};

uint64_t switches_of(const thread& t) { return t.voluntary_switches + t.involuntary_switches; }

// ---- Who waits for whom. No locks: under process_tree_lock, or with everything stopped -----------

const void* lock_wanted_by(const thread& t) {
    // Another thread's, which may just be going on.
    return std::atomic_ref(const_cast<const void*&>(t.sleep_locks.wanted)).load();
}

template <class Use> thread* any_thread(Use use) {
    assume_held(process_tree_lock);
    for (thread* t = thread_look_next(1); t; t = thread_look_next(t->tid + 1))
        if (use(*t))
            return t;
    return nullptr;
}

thread* holder_of(const void* lock) {
    return any_thread(
        [&](const thread& t) { return lock_wanted_by(t) != lock && t.sleep_locks.holds(lock); });
}

// Who has the lock that `t` waits for; null too if it waits for none.
thread* waits_behind(const thread& t) {
    const void* wanted = lock_wanted_by(t);
    return wanted ? holder_of(wanted) : nullptr;
}

// Whether those who wait for each other, beginning with `t`, come round to it.
bool in_circle(const thread& t) {
    constexpr unsigned longest = 16;
    const thread* at = waits_behind(t);
    for (unsigned i = 0; at && at != &t && i < longest; i++)
        at = waits_behind(*at);
    return at == &t;
}

// "5/5 a waits for "x", which 6/6 b holds; ...": `t`, and in a circle the others.
void describe_waiting(const thread& t, char* out, size_t size) {
    const bool circle = in_circle(t);
    size_t used = 0;
    auto add = [&](const char* format, auto... arguments) {
        used += size_t(format_to(out + used, size - used, format, arguments...));
        used = std::min(used, size - 1);
    };
    if (circle)
        add("%s", "dead-lock: ");
    const thread* at = &t;
    do {
        const thread* holder = waits_behind(*at);
        const char* name = at->wait_reason ? at->wait_reason : "?"; // that of the lock
        add("%s%s waits for the lock \"%s\", which %s holds", at == &t ? "" : "; ", who(*at).text,
            name, holder ? who(*holder).text : "nobody");
        if (!circle && holder && holder->state == thread_state::sleeping)
            add(", who sleeps in %s", holder->wait_reason ? holder->wait_reason : "?");
        at = holder;
    } while (circle && at && at != &t);
}

// ---- Looking -----------------------------------------------------------------------------------

// What a thread of the kernel waits for without an end of its own; everything else that no signal
// ends is a step that another thread takes soon.
bool may_last(const char* reason) {
    constexpr const char* lasting[] = {
        "sleep",         // until a time
        "stopped",       // until SIGCONT
        "tty",           // for work
        "memory search", // likewise: until memory is out
        "page daemon",   // until memory is short
        "memory", // until the page daemon has had its turn, which ends with a device's answer
        "page",   // until a device has answered
        "disk",   // until a device has answered, which takes as long as its host likes
    };
    return !reason ||
           std::ranges::any_of(lasting, [&](const char* l) { return strcmp(l, reason) == 0; });
}

// Whether a disk has to answer first, to it or to one that it waits for.
bool waits_for_disk(const thread& t) {
    const thread* at = &t;
    for (unsigned n = 0; n < 16 && at; n++, at = waits_behind(*at))
        if (!lock_wanted_by(*at))
            return at->wait_reason && strcmp(at->wait_reason, "disk") == 0;
    return false;
}

void look_at_thread(thread& t) REQUIRES(process_tree_lock) {
    const bool waits = t.state.load() == thread_state::sleeping &&
                       t.sleep.load() == sleep_kind::uninterruptible &&
                       (lock_wanted_by(t) || !may_last(t.wait_reason));
    auto& seen = t.watched;
    // Whose lock it is takes a look at all threads, so that is asked last.
    const bool stands =
        waits && seen.switches == switches_of(t) && !(lock_wanted_by(t) && waits_for_disk(t));
    seen.looks = stands ? seen.looks + 1 : 0;
    seen.switches = switches_of(t);
    if (seen.looks < looks_until_panic)
        return;
    char text[320];
    if (lock_wanted_by(t))
        describe_waiting(t, text, sizeof text);
    else
        format_to(text, sizeof text, "%s sleeps in %s, which the kernel itself has to end",
                  who(t).text, t.wait_reason);
    panic_hang("hang: for %lu seconds: %s", seconds(), text);
}

// Some of the threads, and the next time those after them.
void look_at_threads() {
    constexpr unsigned at_once = 64; // interrupts are off
    static pid_t from = 1;
    if (!process_tree_lock.try_lock()) // whoever has it may be the one that hangs
        return;
    thread* t = thread_look_next(from);
    for (unsigned i = 0; t && i < at_once; i++) {
        look_at_thread(*t);
        t = thread_look_next(t->tid + 1);
    }
    from = t ? t->tid : 1;
    process_tree_lock.unlock();
}

void look_at_this_cpu(watch& w) {
    const thread& t = *cpu::current(); // an idle thread's tid is 0
    const bool in_vain = t.tid != 0 && t.modes.in_kernel() && sched_ask_this_cpu();
    if (w.in_kernel.too_long(in_vain ? uint64_t(t.tid) : 0, switches_of(t)))
        panic_hang(
            "hang: for %lu seconds %s has run in the kernel, without a sleep, a return to its "
            "program, or long_work::pause()",
            seconds(), who(t).text);
    const sched_waiting first = sched_first_waiting();
    if (w.first_in_queue.too_long(uint64_t(first.tid), first.switches))
        panic_hang("hang: for %lu seconds thread %d has been runnable on CPU %u, and has not run",
                   seconds(), first.tid, cpu::id());
}

void look_at_next_cpu(watch& w) {
    const unsigned next = (cpu::id() + 1) % cpu::count();
    const uint64_t looks = watches[next].looks.load();
    if (next == cpu::id() || looks == 0)
        return;
    const bool silent = w.neighbour.too_long(next + 1, looks);
    switch (cpu::interrupts_when_asked(next)) {
    case cpu::answer::off: w.without_interrupts++; break;
    case cpu::answer::on: w.without_interrupts = 0; break;
    case cpu::answer::none: break;
    }
    if (!silent) {
        w.without_interrupts = 0;
        return;
    }
    if (w.without_interrupts >= 2)
        panic_hang("hang: for %lu seconds CPU %u has had interrupts off", seconds(), next);
    cpu::ask_interrupts(next);
}

void look(void*);

void look_later(watch& w) {
    w.event.set(now() + seconds() * nanos_per_second / looks_until_panic, look, nullptr);
}

void look(void*) {
    watch& w = watches[cpu::id()];
    w.looks.fetch_add(1);
    look_at_next_cpu(w);
    look_at_this_cpu(w);
    if (cpu::id() == 0)
        look_at_threads();
    look_later(w);
}

// ---- The list ----------------------------------------------------------------------------------

void describe_thread(thread& t) {
    const thread_state state = t.state.load();
    const char* end = t.sleep.load() == sleep_kind::interruptible ? "until a signal"
                      : t.sleep.load() == sleep_kind::killable    ? "until it is killed"
                                                                  : "until it is woken";
    if (state == thread_state::sleeping)
        printk_unlocked("thread %s sleeps in %s, %s", who(t).text,
                        t.wait_reason ? t.wait_reason : "?", end);
    else
        printk_unlocked("thread %s %s CPU %u", who(t).text,
                        state == thread_state::running ? "runs on" : "is runnable on",
                        t.cpu.load());
    const void* wanted = lock_wanted_by(t);
    for (unsigned i = 0; i < t.sleep_locks.count && i < held_locks::capacity; i++)
        if (t.sleep_locks.entries[i].lock != wanted)
            printk_unlocked(" holds the lock \"%s\" (%p)", t.sleep_locks.entries[i].name,
                            t.sleep_locks.entries[i].lock);
    if (wanted) {
        char text[320];
        describe_waiting(t, text, sizeof text);
        printk_unlocked(" %s", text);
    }
    if (!t.on_cpu.load())
        machine_backtrace(t.machine);
}

} // namespace

void panic_describe_all_threads() {
    constexpr unsigned most = 100;
    unsigned n = 0;
    any_thread([&](thread& t) {
        if (n++ < most)
            describe_thread(t);
        return false;
    });
    if (n > most)
        printk_unlocked("and %u more threads", n - most);
}

void watchdog_start() {
    if (seconds() == 0)
        return;
    watch& w = watches[cpu::id()];
    w.looks.store(1); // its neighbour is to miss the first one, too
    look_later(w);
}

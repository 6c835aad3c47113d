// Used processor time, and what waits for it.
//
// Alarms cost nothing on the way into the kernel and out of it. A process with alarms has one timer
// event, for the earliest moment at which one of them can be due:
//
//      set --> its threads look --> check: fires what is due,  --> event --> its threads look
//               (signal_flag_clock,        sets the event           |
//                on the way to user mode)      ^                    |
//                                              +--------------------+
//
// Threads that sleep look when they wake up. If all of them do, nothing is set, and a process that
// uses no time costs none.
#include "kernel/time/cpu_clock.h"

#include "arch/cpu.h"
#include "arch/timer.h"
#include "kernel/abi/clocks.h"
#include "kernel/sched/sched.h"
#include "kernel/signal/signal.h"
#include "kernel/signal/signal_internal.h"
#include "lib/long_work.h"

#include <algorithm>

using namespace linux_abi;

namespace {

// How exact alarms are when a process has many threads, and how often they look at most.
constexpr nanos_t shortest_look = 1'000'000;

// A number less than 0 has these in its lowest bits, and above them a process id, inverted.
enum : int32_t {
    clock_kind_mask = 3,
    clock_kind_all = 0, // user and system
    clock_kind_user = 1,
    clock_kind_exact = 2, // user and system, exactly
    clock_of_thread = 4,
    clock_id_shift = 3,
};

// Has all threads of `p` call cpu_alarms_check() before they are next in user mode.
void have_threads_look(process& p) REQUIRES(process_tree_lock) {
    signal_guard guard(*p.handlers);
    for (thread& t : p.threads) {
        t.signals.flags.fetch_or(signal_flag_clock);
        t.machine.work_pending = true;
        sched_bring_to_kernel(t);
    }
}

void look_event(void* context) {
    lock_guard tree(process_tree_lock);
    have_threads_look(*static_cast<process*>(context));
}

nanos_t seconds_to_nanos(uint64_t seconds) {
    nanos_t n;
    return __builtin_mul_overflow(seconds, nanos_per_second, &n) ? forever : n;
}

nanos_t next_limit(const linux_rlimit& limit) {
    return seconds_to_nanos(std::min(limit.current, limit.maximum));
}

// SIGXCPU at the soft limit and each second from there on; SIGKILL at the hard one.
nanos_t limit_reached(cpu_alarm& a, nanos_t time) REQUIRES(process_tree_lock) {
    auto& p = *static_cast<process*>(a.context);
    int signo = 0;
    nanos_t next;
    {
        lock_guard guard(p.lock);
        linux_rlimit& limit = p.limits[rlimit_cpu];
        if (time >= seconds_to_nanos(limit.maximum)) {
            signo = sigkill;
        } else if (time >= seconds_to_nanos(limit.current)) {
            signo = sigxcpu;
            limit.current++;
        }
        next = signo == sigkill ? forever : next_limit(limit);
    }
    if (signo)
        signal_send_process_locked(p, signo, nullptr);
    return next;
}

expected<ref_ptr<process>> process_of_clock(pid_t pid, bool reading) {
    thread& self = current_thread();
    if (pid == 0 || (reading && pid == self.tid))
        return self.proc;
    ref_ptr<process> p = process_find(pid);
    if (!p)
        return fail(Errno::inval);
    return p;
}

} // namespace

nanos_t cpu_time(process& p, const thread* only, bool user_only) {
    if (only)
        return user_only ? only->modes.user() : thread_cpu_time(*only);
    nanos_t sum = p.own_usage.user_time + (user_only ? 0 : p.own_usage.system_time);
    for (const thread& t : p.threads)
        sum += user_only ? t.modes.user() : thread_cpu_time(t);
    return sum;
}

nanos_t cpu_clock::now() const {
    lock_guard tree(process_tree_lock);
    return cpu_time(*of, only.get(), user_only);
}

bool is_cpu_clock(int32_t id) {
    return id == clock_process_cputime || id == clock_thread_cputime || id < 0;
}

expected<cpu_clock> cpu_clock_find(int32_t id, bool reading) {
    thread& self = current_thread();
    if (id == clock_process_cputime)
        return cpu_clock{self.proc, nullptr};
    if (id == clock_thread_cputime)
        return cpu_clock{self.proc, ref_ptr(&self)};
    const int32_t kind = id & clock_kind_mask;
    const pid_t pid = ~(id >> clock_id_shift);
    if (id >= 0 || (kind != clock_kind_all && kind != clock_kind_user && kind != clock_kind_exact))
        return fail(Errno::inval);
    cpu_clock clock{nullptr, nullptr, kind == clock_kind_user, kind == clock_kind_exact};
    if (!(id & clock_of_thread)) {
        clock.of = TRY(process_of_clock(pid, reading));
        return clock;
    }
    clock.only = pid == 0 ? ref_ptr(&self) : thread_find(pid);
    if (!clock.only || clock.only->proc != self.proc)
        return fail(Errno::inval);
    clock.of = self.proc;
    return clock;
}

bool cpu_clock_goes_on(const cpu_clock& clock) {
    lock_guard tree(process_tree_lock);
    return clock.only ? clock.only->in_process.linked() : clock.of->in_table.linked();
}

void cpu_alarm_set(process& p, cpu_alarm& a, nanos_t at) {
    a.at = at;
    if (!a.of_process.linked())
        p.cpu_alarms.all.push_back(a);
    p.cpu_alarms.any = true;
    have_threads_look(p);
}

void cpu_alarm_cancel(process& p, cpu_alarm& a) {
    if (a.of_process.linked())
        p.cpu_alarms.all.remove(a);
    p.cpu_alarms.any = !p.cpu_alarms.all.empty();
}

void cpu_limit_changed(process& p) {
    nanos_t at;
    {
        lock_guard guard(p.lock);
        at = next_limit(p.limits[rlimit_cpu]);
    }
    if (at == forever) {
        cpu_alarm_cancel(p, p.cpu_alarms.limit);
        return;
    }
    p.cpu_alarms.limit.context = &p;
    p.cpu_alarms.limit.fire = limit_reached;
    cpu_alarm_set(p, p.cpu_alarms.limit, at);
}

void cpu_alarms_check(thread& self) {
    process& p = *self.proc;
    if (!p.cpu_alarms.any.load() && !(self.signals.flags.load() & signal_flag_clock))
        return;
    self.modes.enter_kernel(); // what it has used so far counts
    lock_guard tree(process_tree_lock);
    {
        signal_guard guard(*p.handlers);
        self.signals.flags.fetch_and(~uint32_t{signal_flag_clock});
    }
    const nanos_t all = cpu_time(p, nullptr, false), user = cpu_time(p, nullptr, true);
    // So many of its threads can run at once, and use up what is left of the process's time.
    const nanos_t running = std::clamp(p.live_threads.load(), 1u, cpu::count());
    nanos_t soonest = forever;
    // Each once, from the front to the back; the lock is let go of after some, for each may look at
    // all threads for one that takes its signal. One that is set meanwhile has the threads look again.
    constexpr unsigned at_once = 16;
    unsigned fired = 0;
    size_t left = p.cpu_alarms.all.size();
    for (cpu_alarm* a; left > 0 && (a = p.cpu_alarms.all.pop_front()); left--) {
        const nanos_t time = a->only        ? cpu_time(p, a->only, a->user_only)
                             : a->user_only ? user
                                            : all;
        const bool fires = time >= a->at;
        if (fires)
            a->at = a->fire(*a, time);
        if (a->at != forever) {
            p.cpu_alarms.all.push_back(*a);
            soonest = std::min(soonest, (a->at - std::min(a->at, time)) / (a->only ? 1 : running));
        }
        if (fires && ++fired % at_once == 0)
            long_work::pause_without(tree);
    }
    p.cpu_alarms.any = !p.cpu_alarms.all.empty();
    if (soonest != forever && p.live_threads != 0) {
        nanos_t when;
        if (!__builtin_add_overflow(now(), std::max(soonest, shortest_look), &when))
            p.cpu_alarms.event.set(when, look_event, &p);
    }
}

void cpu_alarms_process_exiting(process& p) {
    p.cpu_alarms.event.cancel();
    lock_guard tree(process_tree_lock);
    cpu_alarm_cancel(p, p.cpu_alarms.limit);
}

status cpu_clock_sleep(const cpu_clock& clock, nanos_t at) {
    struct sleeper {
        cpu_alarm alarm;
        wait_queue queue;
        bool awake = false;
    } s;
    s.alarm.only = clock.only.get();
    s.alarm.user_only = clock.user_only;
    s.alarm.context = &s;
    s.alarm.fire = [](cpu_alarm& a, nanos_t) {
        auto& waits = *static_cast<sleeper*>(a.context);
        waits.awake = true;
        waits.queue.wake_all();
        return forever;
    };
    lock_guard tree(process_tree_lock);
    if (cpu_time(*clock.of, s.alarm.only, s.alarm.user_only) >= at)
        return {};
    cpu_alarm_set(*clock.of, s.alarm, at);
    status slept;
    while (slept && !s.awake)
        slept = s.queue.wait_interruptible(process_tree_lock, "cpu clock");
    cpu_alarm_cancel(*clock.of, s.alarm);
    return s.awake ? status{} : slept;
}

// setitimer, getitimer and alarm.
#include "kernel/time/itimer.h"

#include "arch/timer.h"
#include "kernel/abi/clocks.h"
#include "kernel/abi/syscalls.h"
#include "kernel/process/process.h"
#include "kernel/sched/sched.h"
#include "kernel/signal/signal.h"
#include "kernel/signal/signal_internal.h"
#include "kernel/time/cpu_clock.h"
#include "lib/lock.h"
#include "vm/phys/pool.h"

#include <algorithm>

using namespace linux_abi;

// ITIMER_VIRTUAL or ITIMER_PROF. All under process_tree_lock.
struct cpu_interval_timer {
    cpu_alarm alarm; // alarm.at: forever when it is off
    nanos_t interval = 0;
    int signo = 0;
};

// Made at the first use and kept until the process ends.
struct interval_timers {
    process* owner CONSTANT_ONCE_SHARED = nullptr; // outlives it
    cpu_interval_timer user GUARDED_BY(process_tree_lock), profile GUARDED_BY(process_tree_lock);

    // ITIMER_REAL. A periodic timer is set again when its SIGALRM is taken: however short the
    // period, it is its owner who is kept busy.
    sleep_lock setting{lock_rank::itimer, "itimer"}; // one setter at a time
    spin_lock lock{lock_rank::wait, "itimer"};
    bool armed GUARDED_BY(lock) = false;   // the event is set, and counts
    nanos_t deadline GUARDED_BY(lock) = 0; // the next or, if it is not armed, the last one
    nanos_t interval GUARDED_BY(lock) = 0; // 0: once
    timer_event real{timer_call::deferred};
};

namespace {

constinit pool<interval_timers> all_timers{"interval_timers"};

constexpr uint64_t micros_per_second = 1'000'000;
constexpr uint64_t nanos_per_micro = 1000;
// The longest time there is: even a deadline and an interval together are no overflow.
constexpr nanos_t longest = INT64_MAX;

struct linux_itimerval {
    linux_timeval interval, value;
};

void fire(void* context) {
    auto& timers = *static_cast<interval_timers*>(context);
    {
        lock_guard guard(timers.lock);
        if (!timers.armed)
            return;
        timers.armed = false;
    }
    signal_send_process(*timers.owner, sigalrm, nullptr);
}

// ITIMER_VIRTUAL and ITIMER_PROF: each period is told of, unless the last one has not been taken.
nanos_t fire_cpu(cpu_alarm& a, nanos_t time) REQUIRES(process_tree_lock) {
    auto& timer = *static_cast<cpu_interval_timer*>(a.context);
    process& p = current_process(); // alarms fire in the process's own threads
    signal_send_process_locked(p, timer.signo, nullptr);
    if (timer.interval == 0)
        return forever;
    return a.at + ((time - a.at) / timer.interval + 1) * timer.interval;
}

void prepare(cpu_interval_timer& timer, bool user_only, int signo) {
    timer.alarm.user_only = user_only;
    timer.alarm.fire = fire_cpu;
    timer.alarm.context = &timer;
    timer.signo = signo;
}

// The timers of the running process; ENOMEM.
expected<interval_timers*> timers_of(process& p) {
    {
        lock_guard guard(p.lock);
        if (p.interval_timers)
            return p.interval_timers;
    }
    interval_timers* fresh = all_timers.create();
    if (!fresh)
        return fail(Errno::nomem);
    fresh->owner = &p;
    assume_held(process_tree_lock); // nobody else knows it yet
    prepare(fresh->user, true, sigvtalrm);
    prepare(fresh->profile, false, sigprof);
    interval_timers* mine = fresh;
    {
        lock_guard guard(p.lock);
        if (p.interval_timers) // another thread was faster
            mine = p.interval_timers;
        else
            p.interval_timers = fresh;
    }
    if (mine != fresh)
        all_timers.destroy(fresh);
    return mine;
}

struct setting {
    nanos_t value, interval; // value: until it fires; 0: off
};

setting remaining(const interval_timers& timers) REQUIRES(timers.lock) {
    if (!timers.armed)
        return {0, timers.interval};
    const nanos_t time = now();
    // One that is about to fire is still set.
    return {timers.deadline > time ? timers.deadline - time : nanos_per_micro, timers.interval};
}

expected<setting> set_real(process& p, const setting& wanted) {
    interval_timers& timers = *TRY(timers_of(p));
    lock_guard setter(timers.setting);
    lock_guard guard(timers.lock);
    const setting before = remaining(timers);
    timers.armed = false;
    timers.interval = 0;
    guard.unlock();
    timers.real.cancel(); // may wait for fire(), which takes the lock
    guard.lock();
    timers.interval = wanted.interval;
    if (wanted.value != 0) {
        if (__builtin_add_overflow(now(), wanted.value, &timers.deadline))
            timers.deadline = forever - 1;
        timers.armed = true;
        timers.real.set(timers.deadline, fire, &timers);
    }
    return before;
}

setting remaining(process& p, const cpu_interval_timer& timer) REQUIRES(process_tree_lock) {
    const nanos_t deadline = timer.alarm.at;
    if (deadline == forever)
        return {0, timer.interval};
    const nanos_t time = cpu_time(p, nullptr, timer.alarm.user_only);
    return {deadline > time ? deadline - time : nanos_per_micro, timer.interval};
}

cpu_interval_timer& cpu_timer(interval_timers& timers, int32_t which) {
    return which == itimer_virtual ? timers.user : timers.profile;
}

expected<setting> set_cpu(process& p, int32_t which, const setting& wanted) {
    cpu_interval_timer& timer = cpu_timer(*TRY(timers_of(p)), which);
    lock_guard tree(process_tree_lock);
    const setting before = remaining(p, timer);
    cpu_alarm_cancel(p, timer.alarm);
    timer.alarm.at = forever;
    timer.interval = wanted.interval;
    nanos_t deadline;
    if (wanted.value != 0 && !__builtin_add_overflow(cpu_time(p, nullptr, timer.alarm.user_only),
                                                     wanted.value, &deadline))
        cpu_alarm_set(p, timer.alarm, deadline);
    return before;
}

expected<nanos_t> nanos_of(const linux_timeval& t) {
    if (t.sec < 0 || t.usec < 0 || t.usec >= int64_t(micros_per_second))
        return fail(Errno::inval);
    nanos_t n;
    if (__builtin_mul_overflow(nanos_t(t.sec), nanos_per_second, &n) ||
        __builtin_add_overflow(n, nanos_t(t.usec) * nanos_per_micro, &n))
        return longest;
    return std::min(n, longest);
}

linux_timeval timeval_of(nanos_t n) {
    const uint64_t micros = (n + nanos_per_micro - 1) / nanos_per_micro;
    return {int64_t(micros / micros_per_second), int64_t(micros % micros_per_second)};
}

linux_itimerval itimerval_of(const setting& s) {
    return {timeval_of(s.interval), timeval_of(s.value)};
}

} // namespace

void itimer_signal_taken(process& p) {
    lock_guard guard(p.lock);
    if (!p.interval_timers)
        return;
    interval_timers& timers = *p.interval_timers;
    lock_guard timers_guard(timers.lock);
    if (timers.armed || timers.interval == 0)
        return;
    // Periods that are past already are left out: a program gets one signal for them.
    const nanos_t time = now();
    nanos_t next = timers.deadline + timers.interval;
    if (next <= time)
        next += ((time - next) / timers.interval + 1) * timers.interval;
    timers.deadline = next;
    timers.armed = true;
    timers.real.set(next, fire, &timers);
}

void itimer_process_exiting(process& p) {
    interval_timers* timers;
    {
        lock_guard guard(p.lock);
        timers = std::exchange(p.interval_timers, nullptr);
    }
    if (!timers)
        return;
    timers->real.cancel();
    {
        lock_guard tree(process_tree_lock);
        cpu_alarm_cancel(p, timers->user.alarm);
        cpu_alarm_cancel(p, timers->profile.alarm);
    }
    all_timers.destroy(timers);
}

sysresult sys_setitimer(int32_t which, user_ptr<const linux_timeval> value,
                        user_ptr<linux_timeval> old) {
    if (which < itimer_real || which > itimer_prof)
        return fail(Errno::inval);
    linux_itimerval wanted{}; // no value at all turns it off, as on Linux
    if (value)
        wanted = TRY(value.as<const linux_itimerval>().read());
    const setting s{TRY(nanos_of(wanted.value)), TRY(nanos_of(wanted.interval))};
    process& p = current_process();
    const setting before = TRY(which == itimer_real ? set_real(p, s) : set_cpu(p, which, s));
    if (old)
        TRY(old.as<linux_itimerval>().write(itimerval_of(before)));
    return 0;
}

sysresult sys_getitimer(int32_t which, user_ptr<linux_timeval> out) {
    if (which < itimer_real || which > itimer_prof)
        return fail(Errno::inval);
    process& p = current_process();
    interval_timers& timers = *TRY(timers_of(p));
    setting s;
    if (which != itimer_real) {
        lock_guard tree(process_tree_lock);
        s = remaining(p, cpu_timer(timers, which));
    } else {
        lock_guard guard(timers.lock);
        s = remaining(timers);
    }
    TRY(out.as<linux_itimerval>().write(itimerval_of(s)));
    return 0;
}

sysresult sys_alarm(uint32_t seconds) {
    const setting before = TRY(set_real(current_process(), {seconds * nanos_per_second, 0}));
    // To the nearest second, but never 0 while it is set.
    const uint64_t rounded = (before.value + nanos_per_second / 2) / nanos_per_second;
    return before.value == 0 ? 0 : int64_t(std::max<uint64_t>(rounded, 1));
}

// setitimer, getitimer and alarm. ITIMER_VIRTUAL and ITIMER_PROF are not there: EINVAL.
#include "kernel/itimer.h"

#include "arch/timer.h"
#include "kernel/process.h"
#include "kernel/sched.h"
#include "kernel/syscall.h"
#include "lib/lock.h"
#include "vm/pool.h"

#include <algorithm>

// Made at the first use and kept until the process ends.
struct interval_timers {
    process* owner = nullptr;                        // outlives it
    sleep_lock setting{lock_rank::itimer, "itimer"}; // one setter at a time
    // Changed only while the event is cancelled, or by fire().
    std::atomic<nanos_t> deadline{0}; // 0: not set
    nanos_t interval = 0;
    timer_event real;
};

namespace {

constinit pool<interval_timers> all_timers{"interval_timers"};

enum : int32_t { ITIMER_REAL_ = 0, ITIMER_VIRTUAL_ = 1, ITIMER_PROF_ = 2 };
constexpr uint64_t micros_per_second = 1'000'000;
constexpr uint64_t nanos_per_micro = 1000;

struct linux_itimerval {
    linux_timeval interval, value;
};

void fire(void* context) {
    auto& timers = *static_cast<interval_timers*>(context);
    if (timers.interval == 0) {
        timers.deadline = 0;
    } else {
        // Periods that are past already are left out: a program gets one signal for them.
        const nanos_t time = now();
        nanos_t next = timers.deadline + timers.interval;
        if (next <= time)
            next += (time - next) / timers.interval * timers.interval + timers.interval;
        timers.deadline = next;
        timers.real.set(next, fire, context);
    }
    signal_send_process(*timers.owner, SIGALRM_, nullptr);
}

// The timers of the running process; ENOMEM.
expected<interval_timers*> timers_of(process& p) {
    {
        lock_guard guard(p.lock);
        if (p.timers)
            return p.timers;
    }
    interval_timers* fresh = all_timers.create();
    if (!fresh)
        return fail(Errno::nomem);
    fresh->owner = &p;
    interval_timers* mine = fresh;
    {
        lock_guard guard(p.lock);
        if (p.timers) // another thread was faster
            mine = p.timers;
        else
            p.timers = fresh;
    }
    if (mine != fresh)
        all_timers.destroy(fresh);
    return mine;
}

struct setting {
    nanos_t value, interval; // value: until it fires; 0: off
};

setting remaining(const interval_timers& timers) {
    const nanos_t deadline = timers.deadline, time = now();
    if (deadline == 0)
        return {0, timers.interval};
    // One that is about to fire is still set.
    return {deadline > time ? deadline - time : nanos_per_micro, timers.interval};
}

expected<setting> set_real(process& p, const setting& wanted) {
    interval_timers& timers = *TRY(timers_of(p));
    lock_guard guard(timers.setting);
    timers.real.cancel();
    const setting before = remaining(timers);
    timers.interval = wanted.interval;
    timers.deadline = 0;
    if (wanted.value != 0) {
        nanos_t deadline;
        if (__builtin_add_overflow(now(), wanted.value, &deadline))
            deadline = forever - 1;
        timers.deadline = deadline;
        timers.real.set(deadline, fire, &timers);
    }
    return before;
}

expected<nanos_t> nanos_of(const linux_timeval& t) {
    if (t.sec < 0 || t.usec < 0 || t.usec >= int64_t(micros_per_second))
        return fail(Errno::inval);
    nanos_t n;
    if (__builtin_mul_overflow(nanos_t(t.sec), nanos_per_second, &n) ||
        __builtin_add_overflow(n, nanos_t(t.usec) * nanos_per_micro, &n))
        return forever - 1;
    return n;
}

linux_timeval timeval_of(nanos_t n) {
    const uint64_t micros = (n + nanos_per_micro - 1) / nanos_per_micro;
    return {int64_t(micros / micros_per_second), int64_t(micros % micros_per_second)};
}

linux_itimerval itimerval_of(const setting& s) {
    return {timeval_of(s.interval), timeval_of(s.value)};
}

} // namespace

void itimer_process_exiting(process& p) {
    interval_timers* timers;
    {
        lock_guard guard(p.lock);
        timers = std::exchange(p.timers, nullptr);
    }
    if (!timers)
        return;
    timers->real.cancel();
    all_timers.destroy(timers);
}

sysresult sys_setitimer(int32_t which, user_ptr<const linux_timeval> value,
                        user_ptr<linux_timeval> old) {
    if (which != ITIMER_REAL_)
        return fail(Errno::inval);
    linux_itimerval wanted{}; // no value at all turns it off, as on Linux
    if (value)
        wanted = TRY(value.as<const linux_itimerval>().read());
    const setting s{TRY(nanos_of(wanted.value)), TRY(nanos_of(wanted.interval))};
    const setting before = TRY(set_real(current_process(), s));
    if (old)
        TRY(old.as<linux_itimerval>().write(itimerval_of(before)));
    return 0;
}

sysresult sys_getitimer(int32_t which, user_ptr<linux_timeval> out) {
    if (which != ITIMER_REAL_)
        return fail(Errno::inval);
    interval_timers& timers = *TRY(timers_of(current_process()));
    setting s;
    {
        lock_guard guard(timers.setting);
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

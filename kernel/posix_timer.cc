// timer_create(2), timer_settime(2) and their kin, on the clocks that go with time. Clocks of used
// processor time are EINVAL.
//
//      timer_settime --> event set --> fire: the signal is pending --> taken: overrun counted
//                            ^                                             |
//                            +---------------- periodic -------------------+
#include "kernel/posix_timer.h"

#include "arch/timer.h"
#include "kernel/clock.h"
#include "kernel/process.h"
#include "kernel/syscall.h"
#include "kernel/thread.h"
#include "vm/pool.h"

#include <algorithm>

namespace {

constinit pool<posix_timer> timers{"posix_timer"};

enum : int32_t { SIGEV_SIGNAL_ = 0, SIGEV_NONE_ = 1, SIGEV_THREAD_ID_ = 4 };
constexpr uint32_t TIMER_ABSTIME_ = 1;
// How often a periodic timer whose signal is ignored looks whether it still is.
constexpr nanos_t shortest_ignored_period = 1'000'000;

void fire(void* context);

// Moves the deadline of a periodic timer past `time`; returns how many periods that left out.
int advance(posix_timer& t, nanos_t time) REQUIRES(t.lock) {
    const nanos_t missed = time > t.deadline ? (time - t.deadline) / t.interval : 0;
    t.deadline += (missed + 1) * t.interval;
    return int(std::min<nanos_t>(missed, INT32_MAX));
}

void fire(void* context) {
    auto& t = *static_cast<posix_timer*>(context);
    {
        lock_guard guard(t.lock);
        if (!t.armed)
            return;
        t.armed = false;
    }
    if (signal_send_entry(*t.owner, t.target.get(), t.entry))
        return;
    // The program ignores the signal at present; a periodic timer goes on all the same.
    lock_guard guard(t.lock);
    if (t.interval == 0)
        return;
    const nanos_t time = now();
    (void)advance(t, time);
    t.armed = true;
    t.event.set(std::max(t.deadline, time + shortest_ignored_period), fire, &t);
}

// Stops it: neither its event nor its signal is there any more. Caller holds posix_timers_lock.
void disarm(posix_timer& t) {
    {
        lock_guard guard(t.lock);
        t.armed = false;
        t.interval = 0;
    }
    t.event.cancel();
    signal_drop_entry(*t.owner, t.target.get(), t.entry);
}

linux_itimerspec setting_of(posix_timer& t) {
    lock_guard guard(t.lock);
    const nanos_t time = now();
    nanos_t next = t.deadline;
    if (next != 0 && next <= time) {
        if (t.interval != 0)
            next += ((time - next) / t.interval + 1) * t.interval;
        else
            next = t.armed && t.signals ? time + 1 : 0; // about to fire, or over
    }
    return {to_timespec(t.interval), to_timespec(next > time ? next - time : 0)};
}

expected<posix_timer*> find(process& p, int id) {
    for (posix_timer& t : p.posix_timers)
        if (t.id == id)
            return &t;
    return fail(Errno::inval);
}

status choose_signal(posix_timer& t, const linux_sigevent& event) {
    switch (event.notify) {
    case SIGEV_NONE_: t.signals = false; return {};
    case SIGEV_THREAD_ID_: {
        ref_ptr<thread> target = thread_find(event.tid);
        if (!target || target->proc != t.owner)
            return fail(Errno::inval);
        t.target = std::move(target);
        break;
    }
    case SIGEV_SIGNAL_: break;
    default: return fail(Errno::inval);
    }
    if (event.signo < 1 || event.signo > signal_max)
        return fail(Errno::inval);
    return {};
}

} // namespace

void posix_timer_signal_taken(posix_timer& t, linux_siginfo& info) {
    lock_guard guard(t.lock);
    t.overrun = 0;
    if (t.interval != 0) {
        t.overrun = advance(t, now());
        t.armed = true;
        t.event.set(t.deadline, fire, &t);
    }
    info.timer.overrun = t.overrun;
}

void posix_timers_delete(process& p) {
    lock_guard guard(p.posix_timers_lock);
    while (posix_timer* t = p.posix_timers.pop_front()) {
        disarm(*t);
        timers.destroy(t);
    }
    p.next_timer_id = 0;
}

sysresult sys_timer_create(sys_clock clock, user_ptr<const linux_sigevent> event,
                           user_ptr<int32_t> id) {
    TRY(clock_offset(clock));
    process& p = current_process();
    linux_sigevent wanted{0, SIGALRM_, SIGEV_SIGNAL_, 0, {}};
    if (event)
        wanted = TRY(event.read());
    posix_timer* t = timers.create();
    if (!t)
        return fail(Errno::again);
    t->owner = &p;
    t->clock = clock;
    status chosen = choose_signal(*t, wanted);
    if (chosen) {
        lock_guard guard(p.posix_timers_lock);
        t->id = p.next_timer_id;
        if (p.posix_timers.size() >= process_limit(RLIMIT_SIGPENDING_))
            chosen = fail(Errno::again);
        else
            chosen = id.write(t->id);
        if (chosen) {
            p.next_timer_id++;
            t->entry.timer = t;
            t->entry.info = {};
            t->entry.info.signo = wanted.signo;
            t->entry.info.code = SI_TIMER_;
            t->entry.info.timer.timer_id = t->id;
            t->entry.info.timer.value = event ? wanted.value : uint64_t(t->id);
            p.posix_timers.push_back(*t);
            return 0;
        }
    }
    timers.destroy(t);
    return fail(chosen.error());
}

sysresult sys_timer_settime(int32_t id, sys_hex flags, user_ptr<const linux_itimerspec> value,
                            user_ptr<linux_itimerspec> old) {
    if (!value)
        return fail(Errno::inval);
    const linux_itimerspec wanted = TRY(value.read());
    const nanos_t time = TRY(from_timespec(wanted.value));
    const nanos_t interval = TRY(from_timespec(wanted.interval));
    process& p = current_process();
    linux_itimerspec before;
    {
        lock_guard guard(p.posix_timers_lock);
        posix_timer& t = *TRY(find(p, id));
        const bool absolute = flags & TIMER_ABSTIME_;
        const nanos_t offset = TRY(clock_offset(t.clock));
        before = setting_of(t);
        disarm(t);
        lock_guard timer_guard(t.lock);
        t.deadline = 0;
        t.overrun = 0;
        if (time != 0) {
            t.deadline = std::max<nanos_t>(absolute ? deadline_at(time, offset) : now() + time, 1);
            t.interval = interval;
            t.armed = t.signals;
            if (t.signals)
                t.event.set(t.deadline, fire, &t);
        }
    }
    if (old)
        TRY(old.write(before));
    return 0;
}

sysresult sys_timer_gettime(int32_t id, user_ptr<linux_itimerspec> out) {
    process& p = current_process();
    linux_itimerspec setting;
    {
        lock_guard guard(p.posix_timers_lock);
        setting = setting_of(*TRY(find(p, id)));
    }
    TRY(out.write(setting));
    return 0;
}

sysresult sys_timer_getoverrun(int32_t id) {
    process& p = current_process();
    lock_guard guard(p.posix_timers_lock);
    posix_timer& t = *TRY(find(p, id));
    lock_guard timer_guard(t.lock);
    return t.overrun;
}

sysresult sys_timer_delete(int32_t id) {
    process& p = current_process();
    lock_guard guard(p.posix_timers_lock);
    posix_timer& t = *TRY(find(p, id));
    disarm(t);
    p.posix_timers.remove(t);
    timers.destroy(&t);
    return 0;
}

// timer_create(2), timer_settime(2) and their kin.
//
//      timer_settime --> event set --> fire: the signal is pending --> taken: overrun counted
//                            ^           |                                 |
//                            +-----------+-------- periodic ---------------+
//                            |           |
//                            |           +-- the signal is ignored: it rests
//                            |                                             |
//                            +---------------- sigaction ------------------+
//
// On a clock of used processor time there is a cpu_alarm instead of the event. It stays set while
// the signal is pending, and counts the periods, since the clock cannot be read where the signal is
// taken.
#include "kernel/time/posix_timers.h"

#include "arch/timer.h"
#include "kernel/abi/clocks.h"
#include "kernel/abi/syscalls.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "kernel/sched/wall_clock.h"
#include "kernel/signal/signal.h"
#include "kernel/signal/signal_internal.h"
#include "kernel/time/cpu_clock.h"
#include "vm/phys/pool.h"

#include <algorithm>

using namespace linux_abi;

namespace {

constinit pool<posix_timer> timers{"posix_timer"};

int add_saturated(int a, int b) {
    int sum;
    return __builtin_add_overflow(a, b, &sum) ? INT32_MAX : sum;
}

// Moves the deadline of a periodic timer past `time`; returns how many periods that left out.
int advance(posix_timer& t, nanos_t time) REQUIRES(t.lock) {
    const nanos_t missed = time > t.deadline ? (time - t.deadline) / t.interval : 0;
    t.deadline += (missed + 1) * t.interval;
    return int(std::min<nanos_t>(missed, INT32_MAX));
}

void fire(void* context);

void arm(posix_timer& t) REQUIRES(t.lock) {
    t.armed = true;
    t.event.set(t.deadline, fire, &t, t.runs_on);
}

void fire(void* context) {
    auto& t = *static_cast<posix_timer*>(context);
    {
        lock_guard guard(t.lock);
        if (!t.armed)
            return;
        t.armed = false;
    }
    lock_guard tree(process_tree_lock);
    signal_send_entry(*t.owner, t.target.get(), t.entry);
}

nanos_t fire_cpu(cpu_alarm& a, nanos_t time) REQUIRES(process_tree_lock) {
    auto& t = *static_cast<posix_timer*>(a.context);
    nanos_t next = forever;
    {
        lock_guard guard(t.lock);
        if (t.interval == 0) {
            t.armed = false;
        } else {
            t.periods_missed = add_saturated(t.periods_missed, advance(t, time));
            next = t.deadline;
        }
    }
    signal_send_entry(*t.owner, t.target.get(), t.entry);
    return next;
}

// Whether it goes by used processor time.
bool on_cpu_clock(const posix_timer& t) { return bool(t.cpu.of); }
// What its clock shows.
nanos_t time_of(posix_timer& t) {
    if (on_cpu_clock(t))
        return t.cpu.now();
    lock_guard guard(t.lock);
    return time_on(t.runs_on);
}

// It does not come any more, unless its signal is pending yet.
void stop(posix_timer& t) {
    {
        lock_guard guard(t.lock);
        t.armed = t.rests = false;
    }
    if (on_cpu_clock(t)) {
        lock_guard tree(process_tree_lock);
        cpu_alarm_cancel(*t.cpu.of, t.alarm);
    } else {
        t.event.cancel();
    }
}

// Neither does its signal. Caller holds posix_timers::lock.
void disarm(posix_timer& t) {
    {
        lock_guard guard(t.lock);
        t.interval = 0; // taking the signal does not set it again
    }
    stop(t);
    signal_drop_entry(*t.owner, t.target.get(), t.entry);
}

linux_itimerspec setting_of(posix_timer& t) {
    const nanos_t time = time_of(t);
    lock_guard guard(t.lock);
    nanos_t next = t.deadline;
    if (next != 0 && next <= time) {
        if (t.interval != 0)
            next += ((time - next) / t.interval + 1) * t.interval;
        else
            next = t.armed && t.signals ? time + 1 : 0; // about to fire, or over
    }
    return {to_timespec(t.interval), to_timespec(next > time ? next - time : 0)};
}

int id_after(int id) { return id == INT32_MAX ? 0 : id + 1; }

posix_timer* first_from(process& p, int id) REQUIRES(p.posix_timers.lock) {
    return p.posix_timers.all.first_where([&](const posix_timer& t) { return t.id >= id; });
}

expected<posix_timer*> find(process& p, int id) REQUIRES(p.posix_timers.lock) {
    posix_timer* t = first_from(p, id);
    if (!t || t->id != id)
        return fail(Errno::inval);
    return t;
}

// From the next one on, the first that no timer has: they come round after two billion.
int free_id(process& p) REQUIRES(p.posix_timers.lock) {
    int id = p.posix_timers.next_id;
    while (find(p, id))
        id = id_after(id);
    return id;
}

status choose_signal(posix_timer& t, const linux_sigevent& event) {
    switch (event.notify) {
    case sigev_none: t.signals = false; return {};
    case sigev_thread_id: {
        ref_ptr<thread> target = thread_find(event.tid);
        if (!target || target->proc.get() != t.owner)
            return fail(Errno::inval);
        t.target = std::move(target);
        break;
    }
    case sigev_signal:
    case sigev_thread: break;
    default: return fail(Errno::inval);
    }
    if (event.signo < 1 || event.signo > signal_max)
        return fail(Errno::inval);
    return {};
}

} // namespace

void posix_timer_signal_taken(posix_timer& t, linux_siginfo& info) {
    lock_guard guard(t.lock);
    t.overrun = std::exchange(t.periods_missed, 0);
    if (!on_cpu_clock(t) && t.interval != 0) {
        t.overrun = advance(t, time_on(t.runs_on));
        arm(t);
    }
    info.timer.overrun = t.overrun;
}

void posix_timer_signal_pending_yet(posix_timer& t) {
    lock_guard guard(t.lock);
    t.periods_missed = add_saturated(t.periods_missed, 1);
}

void posix_timer_signal_ignored(posix_timer& t) {
    lock_guard guard(t.lock);
    t.rests = !on_cpu_clock(t) && t.interval != 0;
}

void posix_timers_go_on(process& p, int signo) {
    lock_guard guard(p.posix_timers.lock);
    for (posix_timer* t = p.posix_timers.all.first(); t; t = p.posix_timers.all.next(*t)) {
        lock_guard timer_guard(t->lock);
        if (t->entry.info.signo == signo && std::exchange(t->rests, false))
            arm(*t); // it is due, and counts what it has left out
    }
}

void posix_timers_thread_exiting(thread& self) {
    process& p = *self.proc;
    lock_guard guard(p.posix_timers.lock);
    for (posix_timer* t = p.posix_timers.all.first(); t; t = p.posix_timers.all.next(*t)) {
        if (t->target.get() != &self)
            continue;
        t->signals = false;
        stop(*t);
        t->target = nullptr;
    }
}

void posix_timers_delete(process& p) {
    lock_guard guard(p.posix_timers.lock);
    while (posix_timer* t = p.posix_timers.all.first()) {
        p.posix_timers.all.erase(*t);
        disarm(*t);
        timers.destroy(t);
    }
    p.posix_timers.next_id = 0;
}

sysresult sys_timer_create(sys_clock clock, user_ptr<const linux_sigevent> event,
                           user_ptr<int32_t> id) {
    cpu_clock cpu;
    if (is_cpu_clock(clock))
        cpu = TRY(cpu_clock_find(clock));
    else
        TRY(clock_for_timers(clock));
    process& p = current_process();
    linux_sigevent wanted{0, sigalrm, sigev_signal, 0, {}};
    if (event)
        wanted = TRY(event.read());
    // The signal that it will send counts from now on.
    auto charge = user_charge::take(current_credentials().uid, user_resource::signals, 1,
                                    process_limit(rlimit_sigpending), Errno::again);
    posix_timer* t = charge ? timers.create() : nullptr;
    if (!t)
        return fail(Errno::again);
    t->entry.charge = std::move(*charge);
    t->owner = &p;
    t->clock = clock;
    assume_held(process_tree_lock); // nobody else knows it yet
    t->alarm.only = cpu.only.get();
    t->alarm.user_only = cpu.user_only;
    t->alarm.fire = fire_cpu;
    t->alarm.context = t;
    t->cpu = std::move(cpu);
    status chosen = choose_signal(*t, wanted);
    if (chosen) {
        lock_guard guard(p.posix_timers.lock);
        t->id = free_id(p);
        if (t->target && (t->target->signals.flags.load() & signal_flag_gone))
            chosen = fail(Errno::inval);
        else
            chosen = id.write(t->id);
        if (chosen) {
            p.posix_timers.next_id = id_after(t->id);
            t->entry.timer = t;
            t->entry.info = {};
            t->entry.info.signo = wanted.signo;
            t->entry.info.code = si_timer;
            t->entry.info.timer.timer_id = t->id;
            t->entry.info.timer.value = event ? wanted.value : uint64_t(t->id);
            p.posix_timers.all.insert_before(first_from(p, t->id), *t);
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
        lock_guard guard(p.posix_timers.lock);
        posix_timer& t = *TRY(find(p, id));
        const bool absolute = flags & timer_abstime;
        const bool by_use = on_cpu_clock(t);
        if (by_use && !cpu_clock_goes_on(t.cpu))
            return fail(Errno::srch);
        before = setting_of(t);
        disarm(t);
        const moment end = by_use ? moment{absolute ? time : t.cpu.now() + time, timer_clock::boot}
                                  : TRY(moment_of(t.clock, absolute, time));
        const nanos_t deadline = std::max<nanos_t>(end.time, 1);
        lock_guard timer_guard(t.lock);
        t.deadline = 0;
        t.overrun = t.periods_missed = 0;
        t.runs_on = end.clock;
        if (time != 0) {
            t.deadline = deadline;
            t.interval = interval;
            t.armed = t.signals;
        }
        if (t.armed && !by_use)
            arm(t);
        const bool set_alarm = t.armed && by_use;
        timer_guard.unlock();
        if (set_alarm) {
            lock_guard tree(process_tree_lock);
            cpu_alarm_set(*t.cpu.of, t.alarm, deadline);
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
        lock_guard guard(p.posix_timers.lock);
        setting = setting_of(*TRY(find(p, id)));
    }
    TRY(out.write(setting));
    return 0;
}

sysresult sys_timer_getoverrun(int32_t id) {
    process& p = current_process();
    lock_guard guard(p.posix_timers.lock);
    posix_timer& t = *TRY(find(p, id));
    lock_guard timer_guard(t.lock);
    return t.overrun;
}

sysresult sys_timer_delete(int32_t id) {
    process& p = current_process();
    lock_guard guard(p.posix_timers.lock);
    posix_timer& t = *TRY(find(p, id));
    disarm(t);
    p.posix_timers.all.erase(t);
    timers.destroy(&t);
    return 0;
}

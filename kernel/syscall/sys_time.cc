// Clocks and sleeping.
#include "arch/timer.h"
#include "kernel/abi/clocks.h"
#include "kernel/abi/syscalls.h"
#include "kernel/files/poll.h"
#include "kernel/memory/futex.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "kernel/sched/wall_clock.h"
#include "kernel/time/cpu_clock.h"
#include "lib/lock.h"
#include "lib/wait_queue.h"

#include <algorithm>

using namespace linux_abi;

namespace {

expected<nanos_t> read_clock(int32_t clock) {
    if (is_cpu_clock(clock))
        return TRY(cpu_clock_find(clock, true)).now();
    switch (clock) {
    case clock_realtime:
    case clock_realtime_coarse: return wall_clock();
    case clock_monotonic:
    case clock_monotonic_raw:
    case clock_monotonic_coarse:
    case clock_boottime: return now();
    default: return fail(Errno::inval);
    }
}

// Sleeps until then: intr when a signal comes first.
status sleep_until(const moment& end) {
    spin_lock lock{lock_rank::wait, "nanosleep"};
    wait_queue nobody_wakes;
    lock_guard guard(lock);
    const status slept = nobody_wakes.wait_interruptible(lock, "nanosleep", end.time, end.clock);
    return slept.error() == Errno::timedout ? status() : slept;
}

// A relative sleep that a signal has interrupted at `time` goes on to its end if no handler runs,
// and says what was left if one does.
sysresult interrupted(thread::restart_kind kind, nanos_t deadline, nanos_t time,
                      user_ptr<linux_timespec> remaining) {
    if (remaining)
        TRY(remaining.write(to_timespec(deadline > time ? deadline - time : 0)));
    thread& self = current_thread();
    self.restart = kind;
    self.restart_deadline = deadline;
    self.restart_arguments[0] = remaining.address().value();
    return fail(Errno::restart_block);
}

sysresult sleep_or_restart(nanos_t deadline, user_ptr<linux_timespec> remaining) {
    if (sleep_until({deadline, timer_clock::boot}))
        return 0;
    return interrupted(thread::restart_kind::nanosleep, deadline, now(), remaining);
}

// The same until a clock of used processor time shows `at`. Such a clock keeps its number for the
// restart.
sysresult cpu_sleep_or_restart(int32_t id, const cpu_clock& clock, nanos_t at,
                               user_ptr<linux_timespec> remaining) {
    if (cpu_clock_sleep(clock, at))
        return 0;
    current_thread().restart_arguments[1] = uint64_t(int64_t{id});
    return interrupted(thread::restart_kind::cpu_sleep, at, clock.now(), remaining);
}

sysresult cpu_nanosleep(int32_t id, bool absolute, nanos_t time,
                        user_ptr<linux_timespec> remaining) {
    const cpu_clock clock = TRY(cpu_clock_find(id));
    if (clock.only.get() == &current_thread()) // its time stands still meanwhile
        return fail(Errno::inval);
    if (!absolute)
        return cpu_sleep_or_restart(id, clock, deadline_after(time, clock.now()), remaining);
    if (!cpu_clock_sleep(clock, time))
        return fail(Errno::restartnohand);
    return 0;
}

} // namespace

sysresult sys_clock_gettime(sys_clock clock, user_ptr<linux_timespec> out) {
    nanos_t time = TRY(read_clock(clock));
    TRY(out.write(to_timespec(time)));
    return 0;
}

sysresult sys_clock_getres(sys_clock clock, user_ptr<linux_timespec> out) {
    bool coarse = clock == clock_realtime_coarse || clock == clock_monotonic_coarse;
    if (is_cpu_clock(clock))
        coarse = !TRY(cpu_clock_find(clock)).exact;
    else
        TRY(read_clock(clock));
    if (out)
        TRY(out.write({0, coarse ? 4'000'000 : 1}));
    return 0;
}

sysresult sys_clock_settime(sys_clock clock, user_ptr<const linux_timespec> value) {
    if (clock < 0) {
        TRY(value.read());
        TRY(cpu_clock_find(clock));
        return fail(Errno::perm);
    }
    const linux_timespec wanted = TRY(value.read());
    nanos_t time = TRY(from_timespec(wanted));
    if (clock != clock_realtime)
        return fail(Errno::inval);
    if (!current_credentials().superuser())
        return fail(Errno::perm);
    // As on Linux, it cannot show less than the time since boot.
    const nanos_t up = now();
    if (time <= up)
        return fail(Errno::inval);
    set_wall_clock(time - up);
    timerfd_clock_was_set();
    return 0;
}

sysresult sys_gettimeofday(user_ptr<linux_timeval> out, user_ptr<void> zone) {
    nanos_t time = wall_clock();
    if (out)
        TRY(out.write({int64_t(time / nanos_per_second), int64_t(time % nanos_per_second / 1000)}));
    if (zone)
        TRY(zone.as<uint64_t>().write(0)); // two ints: UTC
    return 0;
}

sysresult sys_time(user_ptr<int64_t> out) {
    auto seconds = int64_t(wall_clock() / nanos_per_second);
    if (out)
        TRY(out.write(seconds));
    return seconds;
}

sysresult sys_nanosleep(user_ptr<const linux_timespec> wanted, user_ptr<linux_timespec> remaining) {
    const linux_timespec asked = TRY(wanted.read());
    nanos_t duration = TRY(from_timespec(asked));
    return sleep_or_restart(deadline_after(duration, now()), remaining);
}

sysresult sys_clock_nanosleep(sys_clock clock, sys_hex flags, user_ptr<const linux_timespec> wanted,
                              user_ptr<linux_timespec> remaining) {
    const bool realtime = clock == clock_realtime;
    const bool used = is_cpu_clock(clock) && clock != clock_thread_cputime;
    if (!realtime && !used && clock != clock_monotonic && clock != clock_boottime)
        return fail(clock >= clock_realtime && clock <= clock_monotonic_coarse ? Errno::opnotsupp
                                                                               : Errno::inval);
    const linux_timespec asked = TRY(wanted.read());
    nanos_t time = TRY(from_timespec(asked));
    if (used)
        return cpu_nanosleep(clock, flags & timer_abstime, time, remaining);
    if (!(flags & timer_abstime))
        return sleep_or_restart(deadline_after(time, now()), remaining);
    if (!sleep_until({time, realtime ? timer_clock::wall : timer_clock::boot}))
        return fail(Errno::restartnohand); // the deadline stays what it is: begin again
    return 0;
}

sysresult sys_restart_syscall() {
    thread& self = current_thread();
    switch (std::exchange(self.restart, thread::restart_kind::none)) {
    case thread::restart_kind::nanosleep:
        return sleep_or_restart(self.restart_deadline,
                                user_ptr<linux_timespec>(self.restart_arguments[0]));
    case thread::restart_kind::cpu_sleep: {
        const auto id = int32_t(self.restart_arguments[1]);
        return cpu_sleep_or_restart(id, TRY(cpu_clock_find(id)), self.restart_deadline,
                                    user_ptr<linux_timespec>(self.restart_arguments[0]));
    }
    case thread::restart_kind::futex: return futex_restart(self);
    case thread::restart_kind::poll: return poll_restart(self);
    case thread::restart_kind::none: return fail(Errno::intr);
    }
    return fail(Errno::intr);
}

// timerfd_create(2): a timer that is a file. Reading gives how often it has expired.
#include "arch/timer.h"
#include "kernel/abi/files.h"
#include "kernel/abi/syscalls.h"
#include "kernel/files/anonymous.h"
#include "kernel/files/file.h"
#include "kernel/process/thread.h"
#include "kernel/sched/sched.h"
#include "kernel/sched/wall_clock.h"
#include "lib/long_work.h"
#include "vm/phys/pool.h"

#include <algorithm>

using namespace linux_abi;

// The timerfds whose readers want to know when the wall clock is set.
static spin_lock watchers_lock{lock_rank::clock_watchers, "clock watchers"};

struct timer_file final : public file {
    timer_file(int32_t clock, uint32_t flags)
        : file(anonymous_node(anonymous_kind::timerfd), o_rdwr | flags), clock_(clock) {}
    void closed() override;

    expected<int64_t> read(uio& io) override;
    expected<int64_t> seek(int64_t, int) override { return 0; }
    bool pollable() const override { return true; }
    uint32_t poll(poller* p) override {
        if (p)
            p->add(pollers_);
        lock_guard guard(lock_);
        return clock_moved_ || expired() ? pollin | pollrdnorm : 0;
    }
    timer_file* as_timer() override { return this; }

    linux_itimerspec get() {
        lock_guard guard(lock_);
        return setting();
    }
    // Sets it; `before`: what it was set to. `watch`: TFD_TIMER_CANCEL_ON_SET. ECANCELED, and it is
    // set, if the clock was set before, and no reader was told.
    status set(const moment& deadline, nanos_t interval, bool watch, linux_itimerspec& before);
    void clock_was_set();
    int32_t clock() const { return clock_; }

    list_node among_watchers GUARD_UNCHECKED(watchers_lock);
    uint64_t told GUARD_UNCHECKED(watchers_lock) = 0; // up to which setting of the clock

private:
    static void fire(void* context);
    void watch_clock(bool watch);
    // How often it has expired since it was set or read.
    uint64_t expired() const REQUIRES(lock_) {
        const nanos_t time = time_on(runs_on_);
        if (deadline_ == 0 || time < deadline_)
            return 0;
        return interval_ == 0 ? 1 : (time - deadline_) / interval_ + 1;
    }
    linux_itimerspec setting() const REQUIRES(lock_) {
        const nanos_t time = time_on(runs_on_);
        nanos_t next = deadline_ + expired() * interval_;
        return {to_timespec(interval_), to_timespec(next > time ? next - time : 0)};
    }

    spin_lock lock_{lock_rank::pipe_state, "timerfd"};
    nanos_t deadline_ GUARDED_BY(lock_) = 0; // the first that was not read; 0: none
    nanos_t interval_ GUARDED_BY(lock_) = 0;
    timer_clock runs_on_ GUARDED_BY(lock_) = timer_clock::boot; // what the deadline is on
    bool clock_moved_ GUARDED_BY(lock_) = false; // the wall clock was set, and no reader was told
    wait_queue readers_ GUARDED_BY(lock_);
    poll_queue pollers_;
    sleep_lock setting_{lock_rank::itimer, "timerfd"}; // one setter at a time
    timer_event event_{timer_call::deferred};          // set for the deadline, and only for it
    const int32_t clock_;
};

namespace {
constinit pool<timer_file> timer_files{"timerfd"};
// Those that have been told of all settings are behind those that have not.
list<timer_file, &timer_file::among_watchers> watchers GUARDED_BY(watchers_lock);
uint64_t times_set GUARDED_BY(watchers_lock) = 0;
} // namespace

void timerfd_clock_was_set() {
    constexpr unsigned at_once = 64;
    lock_guard guard(watchers_lock);
    const uint64_t this_time = ++times_set;
    for (unsigned n = 0; !watchers.empty() && watchers.front()->told < this_time;) {
        timer_file& f = *watchers.pop_front();
        f.told = times_set;
        watchers.push_back(f);
        f.clock_was_set();
        if (++n % at_once == 0)
            long_work::pause_without(guard);
    }
}

void timer_file::watch_clock(bool watch) {
    lock_guard guard(watchers_lock);
    if (!watch && among_watchers.linked()) {
        watchers.remove(*this);
    } else if (watch && !among_watchers.linked()) { // one that is there keeps its turn to be told
        told = times_set;
        watchers.push_back(*this);
    }
}

void timer_file::clock_was_set() {
    {
        lock_guard guard(lock_);
        clock_moved_ = true;
        readers_.wake_all();
    }
    pollers_.notify();
}

void timer_file::closed() {
    watch_clock(false);
    event_.cancel();
    timer_files.destroy(this);
}

void timer_file::fire(void* context) {
    auto& self = *static_cast<timer_file*>(context);
    {
        lock_guard guard(self.lock_);
        self.readers_.wake_all();
    }
    self.pollers_.notify();
}

status timer_file::set(const moment& deadline, nanos_t interval, bool watch,
                       linux_itimerspec& before) {
    lock_guard setter(setting_);
    watch_clock(watch);
    event_.cancel();
    lock_guard guard(lock_);
    before = setting();
    deadline_ = deadline.time;
    runs_on_ = deadline.clock;
    interval_ = deadline_ ? interval : 0;
    if (deadline_ != 0)
        event_.set(deadline_, fire, this, runs_on_);
    if (std::exchange(clock_moved_, false) && watch)
        return fail(Errno::canceled);
    return {};
}

expected<int64_t> timer_file::read(uio& io) {
    uint64_t count;
    if (io.remaining() < sizeof count)
        return fail(Errno::inval);
    {
        lock_guard guard(lock_);
        while ((count = expired()) == 0 && !clock_moved_) {
            if (nonblocking())
                return fail(Errno::again);
            if (!readers_.wait_interruptible(lock_, "timerfd"))
                return fail(Errno::restartsys);
        }
        if (std::exchange(clock_moved_, false)) {
            if (count != 0) // as on Linux, it is then over
                deadline_ = 0;
            return fail(Errno::canceled);
        }
        deadline_ = interval_ ? deadline_ + count * interval_ : 0;
        if (deadline_ != 0)
            event_.set(deadline_, fire, this, runs_on_);
    }
    return io.result(io.move(&count, sizeof count));
}

sysresult sys_timerfd_create(sys_clock clock, sys_open_flags flags) {
    if (uint32_t(flags) & ~(o_nonblock | o_cloexec))
        return fail(Errno::inval);
    TRY(clock_for_timers(clock));
    auto made =
        ref_ptr<file>::adopt(timer_files.create(int32_t(clock), uint32_t(flags) & o_nonblock));
    if (!made)
        return fail(Errno::nomem);
    return TRY(current_thread().files->install(std::move(made), uint32_t(flags) & o_cloexec));
}

sysresult sys_timerfd_settime(sys_fd fd, sys_hex flags, user_ptr<const linux_itimerspec> value,
                              user_ptr<linux_itimerspec> old) {
    const linux_itimerspec wanted = TRY(value.read());
    const nanos_t time = TRY(from_timespec(wanted.value));
    const nanos_t interval = TRY(from_timespec(wanted.interval));
    if (flags & ~uint32_t{tfd_timer_abstime | tfd_timer_cancel_on_set})
        return fail(Errno::inval);
    ref_ptr<file> opened = TRY(current_thread().files->get(fd));
    timer_file* timer = opened->as_timer();
    if (!timer)
        return fail(Errno::inval);
    const bool absolute = flags & tfd_timer_abstime;
    moment deadline{0, timer_clock::boot};
    if (time != 0) {
        deadline = TRY(moment_of(timer->clock(), absolute, time));
        deadline.time = std::max<nanos_t>(deadline.time, 1);
    }
    const bool on_wall_clock = TRY(clock_for_timers(timer->clock())) == timer_clock::wall;
    linux_itimerspec before;
    TRY(timer->set(deadline, interval,
                   (flags & tfd_timer_cancel_on_set) && absolute && on_wall_clock, before));
    if (old)
        TRY(old.write(before));
    return 0;
}

sysresult sys_timerfd_gettime(sys_fd fd, user_ptr<linux_itimerspec> out) {
    ref_ptr<file> opened = TRY(current_thread().files->get(fd));
    timer_file* timer = opened->as_timer();
    if (!timer)
        return fail(Errno::inval);
    TRY(out.write(timer->get()));
    return 0;
}

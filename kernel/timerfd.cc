// timerfd_create(2): a timer that is a file. Reading gives how often it has expired.
#include "arch/timer.h"
#include "kernel/clock.h"
#include "kernel/file.h"
#include "kernel/fs/anonymous.h"
#include "kernel/sched.h"
#include "kernel/syscall.h"
#include "kernel/thread.h"
#include "vm/pool.h"

#include <algorithm>

enum : uint32_t { TFD_TIMER_ABSTIME_ = 1 };

struct timer_file final : public file {
    timer_file(int32_t clock, uint32_t flags)
        : file(anonymous_node(anonymous_kind::timerfd), O_RDWR_ | flags), clock_(clock) {}
    void last_reference_gone() override;

    expected<int64_t> read(uio& io) override;
    expected<int64_t> seek(int64_t, int) override { return 0; }
    uint32_t poll(poller* p) override {
        if (p)
            p->add(pollers_);
        lock_guard guard(lock_);
        return expired(now()) ? POLLIN_ | POLLRDNORM_ : 0;
    }
    timer_file* as_timer() override { return this; }

    linux_itimerspec get() {
        lock_guard guard(lock_);
        return setting();
    }
    // Returns what it was set to.
    linux_itimerspec set(nanos_t deadline, nanos_t interval);
    int32_t clock() const { return clock_; }

private:
    static void fire(void* context);
    // How often it has expired since it was set or read.
    uint64_t expired(nanos_t time) const REQUIRES(lock_) {
        if (deadline_ == 0 || time < deadline_)
            return 0;
        return interval_ == 0 ? 1 : (time - deadline_) / interval_ + 1;
    }
    linux_itimerspec setting() const REQUIRES(lock_) {
        const nanos_t time = now();
        nanos_t next = deadline_ + expired(time) * interval_;
        return {to_timespec(interval_), to_timespec(next > time ? next - time : 0)};
    }

    spin_lock lock_{lock_rank::pipe_state, "timerfd"};
    nanos_t deadline_ GUARDED_BY(lock_) = 0; // the first that was not read; 0: none
    nanos_t interval_ GUARDED_BY(lock_) = 0;
    wait_queue readers_; // guard: lock_
    poll_queue pollers_;
    sleep_lock setting_{lock_rank::itimer, "timerfd"}; // one setter at a time
    timer_event event_;                                // set for the deadline, and only for it
    const int32_t clock_;
};

namespace {
constinit pool<timer_file> timer_files{"timerfd"};
}

void timer_file::last_reference_gone() {
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

linux_itimerspec timer_file::set(nanos_t deadline, nanos_t interval) {
    lock_guard setter(setting_);
    event_.cancel();
    lock_guard guard(lock_);
    const linux_itimerspec before = setting();
    deadline_ = deadline;
    interval_ = deadline ? interval : 0;
    if (deadline != 0)
        event_.set(deadline, fire, this);
    return before;
}

expected<int64_t> timer_file::read(uio& io) {
    uint64_t count;
    if (io.remaining() < sizeof count)
        return fail(Errno::inval);
    {
        lock_guard guard(lock_);
        while ((count = expired(now())) == 0) {
            if (nonblocking())
                return fail(Errno::again);
            if (!readers_.wait_interruptible(lock_, "timerfd"))
                return fail(Errno::restartsys);
        }
        deadline_ = interval_ ? deadline_ + count * interval_ : 0;
        if (deadline_ != 0)
            event_.set(deadline_, fire, this);
    }
    return io.result(io.move(&count, sizeof count));
}

sysresult sys_timerfd_create(sys_clock clock, sys_open_flags flags) {
    if (uint32_t(flags) & ~(O_NONBLOCK_ | O_CLOEXEC_))
        return fail(Errno::inval);
    TRY(clock_offset(clock));
    auto made =
        ref_ptr<file>::adopt(timer_files.create(int32_t(clock), uint32_t(flags) & O_NONBLOCK_));
    if (!made)
        return fail(Errno::nomem);
    return TRY(current_thread().files->install(std::move(made), uint32_t(flags) & O_CLOEXEC_));
}

sysresult sys_timerfd_settime(sys_fd fd, sys_hex flags, user_ptr<const linux_itimerspec> value,
                              user_ptr<linux_itimerspec> old) {
    const linux_itimerspec wanted = TRY(value.read());
    const nanos_t time = TRY(from_timespec(wanted.value));
    const nanos_t interval = TRY(from_timespec(wanted.interval));
    if (flags & ~uint32_t{TFD_TIMER_ABSTIME_})
        return fail(Errno::inval);
    ref_ptr<file> opened = TRY(current_thread().files->get(fd));
    timer_file* timer = opened->as_timer();
    if (!timer)
        return fail(Errno::inval);
    nanos_t deadline = 0;
    if (time != 0) {
        const nanos_t offset = TRY(clock_offset(timer->clock()));
        deadline = flags & TFD_TIMER_ABSTIME_ ? deadline_at(time, offset) : now() + time;
        deadline = std::max<nanos_t>(deadline, 1);
    }
    const linux_itimerspec before = timer->set(deadline, interval);
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

// signalfd(2): a file from which the reading process takes its pending signals.
#include "kernel/abi/syscalls.h"
#include "kernel/files/anonymous.h"
#include "kernel/files/file.h"
#include "kernel/signal/signal_internal.h"
#include "kernel/time/cpu_clock.h"
#include "vm/phys/pool.h"

#include <bit>

using namespace linux_abi;

namespace {

// Linux's struct signalfd_siginfo.
struct signalfd_info {
    uint32_t signo;
    int32_t error, code;
    uint32_t pid, uid;
    int32_t fd;
    uint32_t tid, band, overrun, trap_number;
    int32_t status, value_int;
    uint64_t value, utime, stime, address;
    uint8_t pad[48];
};
static_assert(sizeof(signalfd_info) == 128);

signalfd_info to_signalfd(const linux_siginfo& from) {
    signalfd_info to{};
    to.signo = uint32_t(from.signo);
    to.error = from.error;
    to.code = from.code;
    if (from.code == si_timer) {
        to.tid = uint32_t(from.timer.timer_id);
        to.overrun = uint32_t(from.timer.overrun);
        to.value = from.timer.value;
        to.value_int = int32_t(from.timer.value);
    } else if (from.code > 0 && (sig_bit(from.signo) & signals_of_faults)) {
        to.address = from.fault.address;
    } else {
        to.pid = uint32_t(from.child.pid);
        to.uid = from.child.uid;
        if (from.signo == sigchld && from.code > 0) {
            to.status = from.child.status;
            to.utime = uint64_t(from.child.utime);
            to.stime = uint64_t(from.child.stime);
        } else if (from.code < 0) {
            to.value = from.queue.value;
            to.value_int = int32_t(from.queue.value);
        }
    }
    return to;
}

} // namespace

struct signal_file final : public file {
    signal_file(sigset wanted, uint32_t flags)
        : file(anonymous_node(anonymous_kind::signalfd), o_rdwr | flags), wanted_(wanted) {}
    void closed() override;

    expected<int64_t> read(uio& io) override;
    expected<int64_t> seek(int64_t, int) override { return 0; }
    bool pollable() const override { return true; }
    uint32_t poll(poller* p) override {
        thread& self = current_thread();
        sig_handlers& handlers = *self.proc->handlers;
        if (p)
            p->add(handlers.signal_pollers, &handlers);
        signal_guard guard(handlers);
        const sigset pending = self.signals.pending.set | self.proc->signals.pending.set;
        return pending & wanted_.load() ? pollin | pollrdnorm : 0;
    }
    signal_file* as_signals() override { return this; }
    void set(sigset wanted) { wanted_.store(wanted); }

private:
    expected<linux_siginfo> take(bool wait);
    std::atomic<sigset> wanted_;
};

namespace {
constinit pool<signal_file> signal_files{"signalfd"};
}

void signal_file::closed() { signal_files.destroy(this); }

// EAGAIN when none is pending and it is not to wait; ERESTARTSYS.
expected<linux_siginfo> signal_file::take(bool wait) {
    thread& self = current_thread();
    cpu_alarms_check(self);
    sig_handlers& handlers = *self.proc->handlers;
    signal_guard guard(handlers);
    linux_siginfo info;
    while (!signal_take_one_of(self, wanted_.load(), info)) {
        if (!wait)
            return fail(Errno::again);
        if (!guard.wait_interruptible(handlers.signal_readers, "signalfd"))
            return fail(Errno::restartsys);
    }
    return info;
}

expected<int64_t> signal_file::read(uio& io) {
    if (io.remaining() < sizeof(signalfd_info))
        return fail(Errno::inval);
    int64_t done = 0;
    while (io.remaining() >= sizeof(signalfd_info)) {
        auto taken = take(done == 0 && !nonblocking());
        if (!taken) {
            if (done > 0)
                break;
            return fail(taken.error());
        }
        signalfd_info out = to_signalfd(*taken);
        if (status copied = io.move(&out, sizeof out); !copied) {
            if (done > 0) // as Linux: those that have arrived count, and this one is lost
                break;
            return fail(copied.error());
        }
        done += sizeof out;
    }
    return done;
}

sysresult sys_signalfd4(sys_fd fd, user_ptr<const uint64_t> mask, uint64_t size,
                        sys_open_flags flags) {
    if ((uint32_t(flags) & ~(o_nonblock | o_cloexec)) || size != sizeof(sigset))
        return fail(Errno::inval);
    const sigset wanted = TRY(mask.read()) & ~signals_unblockable;
    fd_table& files = *current_thread().files;
    if (fd != -1) {
        ref_ptr<file> opened = TRY(files.get(fd));
        signal_file* signals = opened->as_signals();
        if (!signals)
            return fail(Errno::inval);
        signals->set(wanted);
        return int32_t(fd);
    }
    auto made = ref_ptr<file>::adopt(signal_files.create(wanted, uint32_t(flags) & o_nonblock));
    if (!made)
        return fail(Errno::nomem);
    return TRY(files.install(std::move(made), uint32_t(flags) & o_cloexec));
}

sysresult sys_signalfd(sys_fd fd, user_ptr<const uint64_t> mask, uint64_t size) {
    return sys_signalfd4(fd, mask, size, sys_open_flags{0});
}

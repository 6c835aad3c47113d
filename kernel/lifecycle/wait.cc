// wait4 and waitid: news of children, and the end of zombies.
#include "kernel/process/usage.h"

#include "kernel/files/file.h"
#include "kernel/files/vnode.h"
#include "kernel/process/thread.h"
#include "kernel/sched/sched.h"
#include "kernel/signal/signal.h"
#include "kernel/time/cpu_clock.h"
#include "lib/trace.h"
#include "vm/uvm_aobj.h"

#include <algorithm>
#include <optional>

namespace {

enum : uint32_t {
    WNOHANG_ = 1,
    WSTOPPED_ = 2,
    WEXITED_ = 4,
    WCONTINUED_ = 8,
    WNOWAIT_ = 0x0100'0000,
    WNOTHREAD_ = 0x2000'0000,
    WALL_ = 0x4000'0000,
    WCLONE_ = 0x8000'0000,
};
constexpr uint32_t WUNTRACED_ = WSTOPPED_; // wait4's name for it

enum class wait_for : uint8_t { any, pid, group, pidfd };
enum : int32_t { P_ALL_ = 0, P_PID_ = 1, P_PGID_ = 2, P_PIDFD_ = 3 };

struct news {
    pid_t pid = 0;
    uint32_t uid = 0;
    int wait_status = 0; // as wait4 encodes it
    usage used;
};

bool matches(const process& child, wait_for what, pid_t id, const process* exactly,
             uint32_t options) {
    if ((what == wait_for::pid && child.pid != id) ||
        (what == wait_for::pidfd && &child != exactly) ||
        (what == wait_for::group && child.group != id))
        return false;
    // One that has ended, and whose end is not asked for, has no more to tell.
    if (child.state == process_state::zombie && !(options & WEXITED_))
        return false;
    // A "clone child" is one that tells its end by another signal than SIGCHLD.
    bool is_clone = child.exit_signal != SIGCHLD_;
    return (options & WALL_) || is_clone == ((options & WCLONE_) != 0);
}

bool has_news(const process& child) REQUIRES(process_tree_lock) {
    return child.state == process_state::zombie || !child.continue_reported ||
           (child.state == process_state::stopped && !child.stop_reported);
}

// What there is to say about one child now; takes note of having said it unless WNOWAIT.
std::optional<news> news_of(process& child, uint32_t options) REQUIRES(process_tree_lock) {
    news n{.pid = child.pid, .uid = process_uid(child), .wait_status = 0, .used = {}};
    if (child.state == process_state::zombie) {
        n.wait_status = child.wait_status;
    } else if (child.state == process_state::stopped && !child.stop_reported &&
               (options & WSTOPPED_)) {
        n.wait_status = child.stop_signo << 8 | 0x7f;
        child.stop_reported = !(options & WNOWAIT_);
    } else if (!child.continue_reported && (options & WCONTINUED_)) {
        n.wait_status = 0xffff;
        child.continue_reported = !(options & WNOWAIT_);
    } else {
        return std::nullopt;
    }
    n.used = process_usage(child);
    n.used.add(child.child_usage);
    return n;
}

// The zombie is gone from the tree; what is left of it is freed when the last CPU has left its last
// thread's stack. Waiting for that here means that a process that has been waited for has given
// everything back.
NO_ALLOC void bury(process& child) {
    while (child.unfreed_threads.load(std::memory_order_acquire) != 0)
        thread_yield();
    TRACE(exit_reaped, .child_pid = child.pid, .status = uint64_t(uint32_t(child.wait_status)));
    child.drop_reference();
}

// ECHILD; restartsys; or pid 0 with WNOHANG when there is no news. `exactly` is pidfd's.
expected<news> wait_for_child(wait_for what, pid_t id, uint32_t options,
                              const process* exactly = nullptr) {
    process& self = current_process();
    lock_guard guard(process_tree_lock);
    for (;;) {
        for (process& child : self.news) {
            if (!matches(child, what, id, exactly, options))
                continue;
            std::optional<news> n = news_of(child, options);
            if (!n)
                continue;
            if (!has_news(child))
                self.news.remove(child);
            if (child.state == process_state::zombie && !(options & WNOWAIT_)) {
                self.child_usage.add(n->used);
                process_unpublish(child);
                guard.unlock();
                self.costs.inherit(child.costs);
                bury(child);
                guard.lock();
            }
            return *n;
        }
        process* waited_for = self.children.front();
        while (waited_for && !matches(*waited_for, what, id, exactly, options))
            waited_for = self.children.next(*waited_for);
        if (!waited_for)
            return fail(Errno::child);
        if (options & WNOHANG_)
            return news{};
        if (!self.child_changed.wait_interruptible(process_tree_lock, "wait"))
            return fail(Errno::restartsys);
    }
}

} // namespace

sysresult sys_wait4(sys_pid pid, user_ptr<int32_t> wait_status, sys_hex options,
                    user_ptr<linux_rusage> rusage) {
    if (options & ~(WNOHANG_ | WUNTRACED_ | WCONTINUED_ | WNOTHREAD_ | WALL_ | WCLONE_))
        return fail(Errno::inval);
    if (pid == INT32_MIN)
        return fail(Errno::srch);
    wait_for what = wait_for::pid;
    pid_t id = pid;
    if (pid == -1) {
        what = wait_for::any;
    } else if (pid <= 0) {
        what = wait_for::group;
        id = -pid;
        if (pid == 0) {
            lock_guard guard(process_tree_lock);
            id = current_process().group;
        }
    }
    news n = TRY(wait_for_child(what, id, options | WEXITED_));
    if (n.pid == 0)
        return 0;
    if (wait_status)
        TRY(wait_status.write(n.wait_status));
    if (rusage)
        TRY(rusage.write(usage_to_linux(n.used)));
    return n.pid;
}

sysresult sys_waitid(int32_t id_type, sys_pid id, user_ptr<linux_siginfo> info, sys_hex options,
                     user_ptr<linux_rusage> rusage) {
    if ((options & ~(WNOHANG_ | WNOWAIT_ | WEXITED_ | WSTOPPED_ | WCONTINUED_ | WNOTHREAD_ | WALL_ |
                     WCLONE_)) ||
        !(options & (WEXITED_ | WSTOPPED_ | WCONTINUED_)))
        return fail(Errno::inval);
    wait_for what;
    ref_ptr<file> pidfd;
    pid_t wanted = id;
    switch (id_type) {
    case P_ALL_: what = wait_for::any; break;
    case P_PID_:
        if (id <= 0)
            return fail(Errno::inval);
        what = wait_for::pid;
        break;
    case P_PGID_:
        if (id < 0)
            return fail(Errno::inval);
        what = wait_for::group;
        if (id == 0) {
            lock_guard guard(process_tree_lock);
            wanted = current_process().group;
        }
        break;
    case P_PIDFD_:
        if (id < 0)
            return fail(Errno::inval);
        what = wait_for::pidfd;
        pidfd = TRY(current_thread().files->get(id));
        if (!pidfd->pidfd_process())
            return fail(Errno::badf);
        break;
    default: return fail(Errno::inval);
    }
    const bool poll_only = pidfd && pidfd->nonblocking() && !(options & WNOHANG_);
    news n = TRY(wait_for_child(what, wanted, poll_only ? options | WNOHANG_ : options,
                                pidfd ? pidfd->pidfd_process() : nullptr));
    if (poll_only && !n.pid)
        return fail(Errno::again);
    if (rusage && n.pid)
        TRY(rusage.write(usage_to_linux(n.used)));
    if (!info)
        return 0;
    linux_siginfo out{};
    if (n.pid) {
        out.signo = SIGCHLD_;
        out.child.pid = n.pid;
        out.child.uid = n.uid;
        if (n.wait_status == 0xffff) {
            out.code = CLD_CONTINUED_;
            out.child.status = SIGCONT_;
        } else if ((n.wait_status & 0xff) == 0x7f) {
            out.code = CLD_STOPPED_;
            out.child.status = n.wait_status >> 8;
        } else if ((n.wait_status & 0x7f) == 0) {
            out.code = CLD_EXITED_;
            out.child.status = n.wait_status >> 8 & 0xff;
        } else {
            out.code = n.wait_status & 0x80 ? CLD_DUMPED_ : CLD_KILLED_;
            out.child.status = n.wait_status & 0x7f;
        }
    }
    // Linux writes these fields and no others.
    TRY(copy_out(info.address(), &out, offsetof(linux_siginfo, child.utime)));
    return 0;
}

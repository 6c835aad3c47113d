// wait4 and waitid: news of children, and the end of zombies.
//
//  1. Whom: a child by its pid or pidfd, the children in a group, any (matches). None: ECHILD.
//  2. Look: the one child, or those with news, in the order in which it came (child_scan).
//  3. take_news, in one step under the tree's lock: what there is to say is said once. A zombie
//     leaves the family and the tables with it (process_unpublish); what it used is added to the
//     parent's account of children, and what the parent's list held is the caller's.
//  4. No news: WNOHANG returns; else asleep on child_changed, which exit, a stop and SIGCONT wake,
//     and on to 2.
//  5. Without the lock: the zombie's ledger becomes the parent's, and it is buried when the last
//     processor has left its last thread's stack.
//  6. The status, the usage, for waitid a siginfo, to the program. What is told is not taken back
//     if that faults, as on Linux.
#include "kernel/abi/arguments.h"
#include "kernel/abi/process.h"
#include "kernel/process/usage.h"

#include "kernel/files/file.h"
#include "kernel/files/vnode.h"
#include "kernel/lifecycle/ptrace.h"
#include "kernel/lifecycle/seams.h"
#include "kernel/process/process_group.h"
#include "kernel/process/thread.h"
#include "kernel/process/trace_links.h"
#include "kernel/sched/sched.h"
#include "kernel/signal/signal.h"
#include "kernel/time/cpu_clock.h"
#include "vm/phys/event.h"
#include "vm/uvm_aobj.h"

#include <algorithm>
#include <optional>

using namespace linux_abi;

namespace {

enum class wait_for : uint8_t { any, pid, group };

struct news {
    pid_t pid = 0;
    uint32_t uid = 0;
    int wait_status = 0;  // as wait4 encodes it
    bool trapped = false; // a tracee, which has stopped for its tracer
    usage used;
    ref_ptr<process> dead;          // a zombie out of the tree, which the caller has to bury
    ref_ptr<process> let_go;        // likewise, one that nobody waits for
    std::optional<uint64_t> zombie; // its serial: its end is not to be told again
};

bool matches(const process& child, wait_for what, pid_t id, uint32_t options)
    REQUIRES(process_tree_lock) {
    if (what == wait_for::group && child.group->id != id)
        return false;
    // One that has ended, and whose end is not asked for, has no more to tell.
    if (child.state == process_state::zombie && !(options & wexited))
        return false;
    if ((options & wnothread) && child.parent_thread != &current_thread())
        return false;
    // A "clone child" is one that tells its end by another signal than SIGCHLD.
    bool is_clone = child.exit_signal != sigchld;
    return (options & wall) || is_clone == ((options & wclone) != 0);
}

bool has_news(const process& child) REQUIRES(process_tree_lock) {
    return child.state == process_state::zombie || !child.continue_reported ||
           (child.state == process_state::stopped && !child.stop_reported);
}

// What there is to say about one child now; takes note of having said it unless WNOWAIT.
std::optional<news> news_of(process& child, uint32_t options) REQUIRES(process_tree_lock) {
    news n{.pid = child.pid, .uid = process_uid(child)};
    const process* const tracer = tracer_of(child);
    if (child.state == process_state::zombie) {
        if (tracer && tracer != child.parent)
            return std::nullopt; // that has to wait for it first
        n.wait_status = child.wait_status;
        if (!(options & wnowait))
            n.zombie = child.serial.value();
    } else if (child.state == process_state::stopped && !child.stop_reported &&
               (options & wstopped) && tracer != child.parent) {
        n.wait_status = child.stop_signo << 8 | 0x7f;
        child.stop_reported = !(options & wnowait);
    } else if (!child.continue_reported && (options & wcontinued)) {
        n.wait_status = 0xffff;
        child.continue_reported = !(options & wnowait);
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
NO_ALLOC void bury(ref_ptr<process> child, int wait_status) {
    while (child->unfreed_threads.load(std::memory_order_acquire) != 0)
        thread_yield();
    EVENT(exit_reaped, .child_pid = child->pid, .status = uint64_t(uint32_t(wait_status)));
    child.reset();
}

// Takes the news of one child, if there are any, and unless WNOWAIT a zombie with them.
std::optional<news> take_news(process& child, uint32_t options) REQUIRES(process_tree_lock) {
    process& self = current_process();
    std::optional<news> n = news_of(child, options);
    if (!n)
        return n;
    if (!has_news(child))
        self.news.remove(child);
    if (child.state == process_state::zombie && !(options & wnowait)) {
        self.child_usage.add(n->used);
        check_usage_seam(self, n->used);
        if (child.end_traced) // by this process
            trace_unlink(*child.end_traced);
        n->dead = process_unpublish(child);
    }
    return n;
}

// What there is to say about a tracee; in one step, as above. The end of a process whose parent is
// another is told to that when its tracer has heard of it.
std::optional<news> take_trace_news(tracee& t, uint32_t options) REQUIRES(process_tree_lock) {
    process& p = *t.proc;
    if (t.stop == trace_stop::ended && !(options & wexited))
        return std::nullopt;
    news n{.pid = t.traced ? t.traced->tid : p.pid, .uid = process_uid(p)};
    n.used = process_usage(p);
    n.trapped = t.stop != trace_stop::ended;
    n.wait_status = n.trapped ? t.code << 8 | 0x7f : t.code;
    if (options & wnowait)
        return n;
    if (n.trapped) {
        trace_has_no_news(t);
        t.resume_signal = 0; // nobody delivers what has been told, if its tracer ends now
    } else {
        n.let_go = tracer_lets_go(t);
    }
    return n;
}

bool tracee_matches(const tracee& t, wait_for what, pid_t id, uint32_t options)
    REQUIRES(process_tree_lock) {
    return (what != wait_for::group || t.proc->group->id == id) &&
           (!(options & wnothread) || t.tracer == &current_thread());
}

// The tracee by its tid, or by a pidfd of its process, if it may be waited for. One that has ended
// as its tracer's child is waited for as that.
tracee* named_tracee(pid_t tid, const process* exactly, uint32_t options)
    REQUIRES(process_tree_lock) {
    tracee* const t = tracee_find(tid);
    if (!t || t->tracer->proc.get() != &current_process() || (exactly && t->proc != exactly))
        return nullptr;
    return tracee_matches(*t, wait_for::pid, tid, options) ? t : nullptr;
}

bool has_tracee(wait_for what, pid_t id, uint32_t options) REQUIRES(process_tree_lock) {
    for (const thread& mine : current_process().threads)
        for (const tracee& t : mine.tracees)
            if (tracee_matches(t, what, id, options))
                return true;
    return false;
}

// The first news of any tracee.
std::optional<news> take_any_trace_news(wait_for what, pid_t id, uint32_t options)
    REQUIRES(process_tree_lock) {
    std::optional<news> n;
    process& self = current_process();
    for (tracee* t = self.trace_news.front(); t && !n;) {
        tracee* const next = self.trace_news.next(*t);
        if (tracee_matches(*t, what, id, options))
            n = take_trace_news(*t, options);
        t = next;
    }
    return n;
}

// A child by its pid, or by its pidfd, if it is one that may be waited for.
process* named_child(pid_t pid, const process* exactly, uint32_t options)
    REQUIRES(process_tree_lock) {
    process* child = process_lookup(pid);
    if (!child || child->parent != &current_process() || (exactly && child != exactly))
        return nullptr;
    return matches(*child, wait_for::pid, pid, options) ? child : nullptr;
}

// Whether there is any that may be waited for.
bool has_child(wait_for what, pid_t id, uint32_t options, lock_guard<spin_lock>& guard)
    REQUIRES(process_tree_lock) {
    child_scan all(current_process(), child_scan::all);
    process* child = all.next(guard);
    while (child && !matches(*child, what, id, options))
        child = all.next(guard);
    return child;
}

// ECHILD; restartsys; or pid 0 with WNOHANG when there is no news. `exactly` is pidfd's.
expected<news> wait_for_child(wait_for what, pid_t id, uint32_t options,
                              const process* exactly = nullptr) {
    process& self = current_process();
    lock_guard guard(process_tree_lock);
    for (;;) {
        std::optional<news> n;
        if (what == wait_for::pid) {
            process* const child = named_child(id, exactly, options);
            tracee* const traced = child && current_process().trace_news.empty()
                                       ? nullptr // there is no news of it
                                       : named_tracee(id, exactly, options);
            if (!child && !traced)
                return fail(Errno::child);
            if (traced && traced->among_news.linked())
                n = take_trace_news(*traced, options);
            if (!n && child)
                n = take_news(*child, options);
        } else {
            if (!has_child(what, id, options, guard) && !has_tracee(what, id, options))
                return fail(Errno::child);
            child_scan some(self, child_scan::with_news);
            for (process* child; !n && (child = some.next(guard));)
                if (matches(*child, what, id, options))
                    n = take_news(*child, options);
            if (!n)
                n = take_any_trace_news(what, id, options);
        }
        if (n) {
            guard.unlock();
            if (n->dead) {
                self.costs.inherit(n->dead->costs);
                bury(std::move(n->dead), n->wait_status);
            }
            if (n->zombie)
                check_wait_seam(n->pid, *n->zombie);
            return std::move(*n);
        }
        if (options & wnohang)
            return news{};
        if (!self.child_changed.wait_interruptible(process_tree_lock, "wait"))
            return fail(Errno::restartsys);
    }
}

} // namespace

sysresult sys_wait4(sys_pid pid, user_ptr<int32_t> wait_status, sys_hex options,
                    user_ptr<linux_rusage> rusage) {
    if (options & ~(wnohang | wuntraced | wcontinued | wnothread | wall | wclone))
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
        if (pid == 0)
            id = current_group();
    }
    news n = TRY(wait_for_child(what, id, options | wexited));
    if (n.pid == 0)
        return 0;
    if (wait_status)
        TRY(wait_status.write(n.wait_status));
    if (rusage)
        TRY(rusage.write(usage_to_linux(n.used)));
    return n.pid;
}

// Whom waitid's two numbers mean. EINVAL; EBADF of a descriptor.
struct waitid_target {
    wait_for what;
    pid_t id;
    ref_ptr<file> pidfd{};

    static expected<waitid_target> find(int32_t id_type, pid_t id) {
        if (id < 0 && id_type != p_all)
            return fail(Errno::inval);
        switch (id_type) {
        case p_all: return waitid_target{wait_for::any, id};
        case p_pid:
            if (id == 0)
                return fail(Errno::inval);
            return waitid_target{wait_for::pid, id};
        case p_pgid: return waitid_target{wait_for::group, id == 0 ? current_group() : id};
        case p_pidfd: {
            ref_ptr<file> pidfd = TRY(current_thread().files->get(id));
            if (!pidfd->pidfd_process())
                return fail(Errno::badf);
            const pid_t pid = pidfd->pidfd_process()->pid;
            return waitid_target{wait_for::pid, pid, std::move(pidfd)};
        }
        default: return fail(Errno::inval);
        }
    }
};

static linux_siginfo siginfo_of(const news& n) {
    linux_siginfo out{};
    out.signo = sigchld;
    out.child.pid = n.pid;
    out.child.uid = n.uid;
    if (n.trapped) {
        out.code = cld_trapped;
        out.child.status = n.wait_status >> 8;
    } else if (n.wait_status == 0xffff) {
        out.code = cld_continued;
        out.child.status = sigcont;
    } else if ((n.wait_status & 0xff) == 0x7f) {
        out.code = cld_stopped;
        out.child.status = n.wait_status >> 8;
    } else if ((n.wait_status & 0x7f) == 0) {
        out.code = cld_exited;
        out.child.status = n.wait_status >> 8 & 0xff;
    } else {
        out.code = n.wait_status & 0x80 ? cld_dumped : cld_killed;
        out.child.status = n.wait_status & 0x7f;
    }
    return out;
}

sysresult sys_waitid(int32_t id_type, sys_pid id, user_ptr<linux_siginfo> info, sys_hex options,
                     user_ptr<linux_rusage> rusage) {
    if ((options &
         ~(wnohang | wnowait | wexited | wstopped | wcontinued | wnothread | wall | wclone)) ||
        !(options & (wexited | wstopped | wcontinued)))
        return fail(Errno::inval);
    const waitid_target target = TRY(waitid_target::find(id_type, id));
    file* const pidfd = target.pidfd.get();
    const bool poll_only = pidfd && pidfd->nonblocking() && !(options & wnohang);
    news n = TRY(wait_for_child(target.what, target.id, poll_only ? options | wnohang : options,
                                pidfd ? pidfd->pidfd_process() : nullptr));
    if (poll_only && !n.pid)
        return fail(Errno::again);
    if (rusage && n.pid)
        TRY(rusage.write(usage_to_linux(n.used)));
    if (!info)
        return 0;
    const linux_siginfo out = n.pid ? siginfo_of(n) : linux_siginfo{};
    // Linux writes these fields and no others.
    TRY(copy_out(info.address(), &out, offsetof(linux_siginfo, child.utime)));
    return 0;
}

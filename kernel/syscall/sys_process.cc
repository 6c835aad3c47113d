// What a process asks about itself and sets for itself: ids, names, limits, scheduling.
#include "arch/cpu.h"
#include "arch/thread.h"
#include "arch/timer.h"
#include "kernel/abi/process.h"
#include "kernel/abi/syscalls.h"
#include "kernel/base/random.h"
#include "kernel/process/process.h"
#include "kernel/process/process_group.h"
#include "kernel/process/thread.h"
#include "kernel/process/usage.h"
#include "kernel/sched/sched.h"
#include "kernel/signal/signal.h"
#include "kernel/time/cpu_clock.h"
#include "lib/long_work.h"
#include "lib/string.h"
#include "vm/vmspace.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

using namespace linux_abi;

// ---- Ids -------------------------------------------------------------------------------------

sysresult sys_getpid() { return current_process().pid; }
sysresult sys_gettid() { return current_thread().tid; }

sysresult sys_getppid() { return current_process().parent_pid.load(std::memory_order_relaxed); }

sysresult sys_set_tid_address(sys_address tid) {
    thread& self = current_thread();
    self.clear_child_tid = tid;
    return self.tid;
}

// ---- Scheduling ------------------------------------------------------------------------------

sysresult sys_sched_yield() {
    thread_yield();
    return 0;
}

sysresult sys_getcpu(user_ptr<uint32_t> cpu, user_ptr<uint32_t> node, sys_address) {
    cpu::interrupts_push_off();
    uint32_t id = cpu::id();
    cpu::interrupts_pop_off();
    if (cpu)
        TRY(cpu.write(id));
    if (node)
        TRY(node.write(0));
    return 0;
}

// The rights of the caller, `self`, and what he does with them, are one step for the target: it
// does not change who it is in between.
static bool may_schedule(const credentials& self, const process& target) REQUIRES(target.lock) {
    return credentials_may_schedule(self, target.context->cred);
}

// Whose processors `tid` names: a thread's, or those that are left of a first one.
struct affinity_target {
    ref_ptr<process> proc;
    ref_ptr<thread> live; // null: it has ended

    static expected<affinity_target> find(pid_t tid) { // ESRCH
        if (ref_ptr<thread> t = tid == 0 ? ref_ptr(&current_thread()) : thread_find(tid))
            return affinity_target{t->proc, t};
        if (ref_ptr<process> p = process_find(tid))
            return affinity_target{std::move(p), nullptr};
        return fail(Errno::srch);
    }
};

static uint32_t all_cpus() { return (1u << cpu::count()) - 1; }

sysresult sys_sched_setaffinity(sys_pid pid, uint64_t size, user_ptr<const uint64_t> mask) {
    uint64_t wanted = 0;
    TRY(copy_in(&wanted, mask.address(), std::min(size, sizeof wanted)));
    const affinity_target target = TRY(affinity_target::find(pid));
    const auto allowed = uint32_t(wanted) & all_cpus();
    const credentials self = current_credentials();
    process& p = *target.proc;
    {
        lock_guard guard(p.lock);
        if (!may_schedule(self, p))
            return fail(Errno::perm);
        if (allowed == 0)
            return fail(Errno::inval);
        if (target.live)
            target.live->allowed_cpus = allowed;
        if (!target.live || target.live->tid == p.pid) // it may be ending
            p.cpus_of_first = allowed;
    }
    if (target.live)
        sched_affinity_changed(*target.live);
    return 0;
}

sysresult sys_sched_getaffinity(sys_pid pid, uint64_t size, user_ptr<uint64_t> mask) {
    if (size < sizeof(uint64_t) || size % sizeof(uint64_t) != 0)
        return fail(Errno::inval);
    const affinity_target target = TRY(affinity_target::find(pid));
    uint32_t allowed;
    {
        process& p = *target.proc;
        lock_guard guard(p.lock);
        allowed = target.live ? target.live->allowed_cpus.load() : p.cpus_of_first;
    }
    TRY(mask.write(allowed & all_cpus()));
    return sizeof(uint64_t);
}

// Calls f(process) for those that which and who name; returns how many there were.
template <class F> static expected<unsigned> for_priority(int32_t which, int32_t who, F f) {
    if (which < prio_process || which > prio_user)
        return fail(Errno::inval);
    unsigned n = 0;
    if (which == prio_process) {
        ref_ptr<thread> t = who == 0 ? ref_ptr(&current_thread()) : thread_find(who);
        // A zombie has no threads any more.
        if (ref_ptr<process> p = t ? t->proc : process_find(who)) {
            f(*p);
            n++;
        }
    } else {
        const pid_t group = who == 0 ? current_group() : who;
        const uint32_t uid = who == 0 ? process_uid(current_process()) : uint32_t(who);
        auto named = [&](process& p) {
            lock_guard guard(process_tree_lock);
            return which == prio_pgrp ? p.group->id == group : process_uid(p) == uid;
        };
        for (ref_ptr<process> p = process_next(1); p; p = process_next(p->pid + 1)) {
            long_work::pause();
            if (named(*p)) {
                f(*p);
                n++;
            }
        }
    }
    if (n == 0)
        return fail(Errno::srch);
    return n;
}

sysresult sys_getpriority(int32_t which, int32_t who) {
    int best = 20;
    TRY(for_priority(which, who, [&](process& p) { best = std::min(best, p.nice.load()); }));
    return 20 - best;
}

// How far a program may go back with its niceness without being root: RLIMIT_NICE.
static bool may_have_nice(const credentials& self, const process& p, int priority)
    REQUIRES(p.lock) {
    return self.superuser() || uint64_t(20 - priority) <= p.limits[rlimit_nice].current;
}

sysresult sys_setpriority(int32_t which, int32_t who, int32_t priority) {
    priority = std::clamp(priority, -20, 19);
    Errno refused{};
    const credentials self = current_credentials();
    TRY(for_priority(which, who, [&](process& p) {
        lock_guard guard(p.lock);
        if (!may_schedule(self, p))
            refused = Errno::perm;
        else if (priority < p.nice.load() && !may_have_nice(self, p, priority))
            refused = Errno::acces;
        else
            p.nice.store(priority);
    }));
    if (refused != Errno{})
        return fail(refused);
    return 0;
}

// There is one class, SCHED_OTHER, and in it one priority, 0. Nobody has the right to a real-time
// class.
namespace {

bool is_real_time(int32_t policy) { return policy == sched_fifo || policy == sched_rr; }

// EINVAL for what is none on Linux either.
status check_policy(int32_t policy) {
    const bool known = policy == sched_other || is_real_time(policy) || policy == sched_batch ||
                       policy == sched_idle || policy == sched_deadline;
    return known ? status() : fail(Errno::inval);
}

// EINVAL EFAULT ESRCH EPERM.
status set_scheduler(pid_t pid, int32_t policy, user_ptr<const int32_t> priority) {
    if (!priority || pid < 0)
        return fail(Errno::inval);
    const int32_t wanted = TRY(priority.read());
    const affinity_target target = TRY(affinity_target::find(pid));
    if (is_real_time(policy) && wanted >= 1 && wanted <= 99)
        return fail(Errno::perm);
    if (policy != sched_other || wanted != 0)
        return fail(Errno::inval);
    const credentials self = current_credentials();
    process& p = *target.proc;
    lock_guard guard(p.lock);
    return may_schedule(self, p) ? status() : fail(Errno::perm);
}

} // namespace

sysresult sys_sched_setscheduler(sys_pid pid, int32_t policy, user_ptr<const int32_t> priority) {
    TRY(set_scheduler(pid, policy, priority));
    return 0;
}

sysresult sys_sched_setparam(sys_pid pid, user_ptr<const int32_t> priority) {
    TRY(set_scheduler(pid, sched_other, priority));
    return 0;
}

sysresult sys_sched_getscheduler(sys_pid pid) {
    if (pid < 0)
        return fail(Errno::inval);
    (void)TRY(affinity_target::find(pid));
    return sched_other;
}

sysresult sys_sched_getparam(sys_pid pid, user_ptr<int32_t> priority) {
    if (!priority || pid < 0)
        return fail(Errno::inval);
    (void)TRY(affinity_target::find(pid));
    TRY(priority.write(0));
    return 0;
}

sysresult sys_sched_get_priority_max(int32_t policy) {
    TRY(check_policy(policy));
    return is_real_time(policy) ? 99 : 0;
}

sysresult sys_sched_get_priority_min(int32_t policy) {
    TRY(check_policy(policy));
    return is_real_time(policy) ? 1 : 0;
}

// ---- Resources -------------------------------------------------------------------------------

sysresult sys_getrusage(int32_t who, user_ptr<linux_rusage> out) {
    constexpr int32_t of_self = 0, of_children = -1, of_thread = 1;
    thread& self = current_thread();
    process& p = *self.proc;
    usage u;
    uint64_t resident = current_vmspace().get_sizes().resident_pages;
    switch (who) {
    case of_self: {
        lock_guard guard(process_tree_lock);
        u = process_usage(p);
        p.own_usage.max_rss_pages = std::max(p.own_usage.max_rss_pages, resident);
        u.max_rss_pages = p.own_usage.max_rss_pages;
        break;
    }
    case of_children: {
        lock_guard guard(process_tree_lock);
        u = p.child_usage;
        break;
    }
    case of_thread:
        u = thread_usage(self);
        u.max_rss_pages = resident;
        break;
    default: return fail(Errno::inval);
    }
    TRY(out.write(usage_to_linux(u)));
    return 0;
}

sysresult sys_times(user_ptr<void> out) {
    constexpr nanos_t tick = nanos_per_second / 100;
    struct {
        int64_t user, system, children_user, children_system;
    } times;
    if (out) {
        {
            lock_guard guard(process_tree_lock);
            process& p = current_process();
            usage u = process_usage(p);
            times = {int64_t(u.user_time / tick), int64_t(u.system_time / tick),
                     int64_t(p.child_usage.user_time / tick),
                     int64_t(p.child_usage.system_time / tick)};
        }
        TRY(copy_out(out.address(), &times, sizeof times));
    }
    return int64_t(now() / tick);
}

static status check_limit(unsigned resource, const linux_rlimit& wanted) {
    constexpr uint64_t most_files = 1 << 20;
    if (wanted.current > wanted.maximum)
        return fail(Errno::inval);
    if (resource == rlimit_nofile && wanted.maximum > most_files)
        return fail(Errno::perm);
    return {};
}

sysresult sys_prlimit64(sys_pid pid, int32_t resource, user_ptr<const linux_rlimit> new_limit,
                        user_ptr<linux_rlimit> old_limit) {
    if (resource < 0 || unsigned(resource) >= rlimit_count)
        return fail(Errno::inval);
    ref_ptr<process> p = pid == 0 ? ref_ptr(&current_process()) : process_find(pid);
    if (!p)
        return fail(Errno::srch);
    linux_rlimit wanted{};
    if (new_limit)
        wanted = TRY(new_limit.read());
    const credentials self = current_credentials();
    linux_rlimit old;
    {
        // Asked and done in one step: a program that runs with other rights is not meant.
        lock_guard guard(p->lock);
        if (p.get() != &current_process() && !credentials_may_limit(self, p->context->cred))
            return fail(Errno::perm);
        old = p->limits[resource];
        if (new_limit) {
            TRY(check_limit(unsigned(resource), wanted));
            if (wanted.maximum > old.maximum && !self.superuser())
                return fail(Errno::perm);
            p->limits[resource] = wanted;
        }
    }
    if (new_limit && resource == rlimit_cpu) {
        lock_guard tree(process_tree_lock);
        if (p->live_threads != 0)
            cpu_limit_changed(*p);
    }
    if (old_limit)
        TRY(old_limit.write(old));
    return 0;
}

sysresult sys_getrlimit(int32_t resource, user_ptr<linux_rlimit> out) {
    return sys_prlimit64({0}, resource, {}, out);
}

sysresult sys_setrlimit(int32_t resource, user_ptr<const linux_rlimit> limit) {
    if (!limit)
        return fail(Errno::fault);
    return sys_prlimit64({0}, resource, limit, {});
}

// ---- prctl -----------------------------------------------------------------------------------

namespace {

constexpr uint64_t last_capability = 40;

// ENOMEM.
status set_dumpable(process& p, bool value) {
    for (;;) {
        const auto before = process_context(p);
        if (before->dumpable == value)
            return {};
        auto next = TRY(security_context::create(before->cred, value, before->program));
        next->vm = before->vm;
        if (process_replace_context(p, before, std::move(next)))
            return {};
    }
}

// At most 15 characters count; the rest need not even be there.
status set_name(thread& self, vaddr_t from) {
    char name[sizeof self.name] = {};
    auto copied = copy_in_string(name, from, sizeof name - 1);
    if (!copied && copied.error() != Errno::nametoolong)
        return fail(copied.error());
    name[sizeof name - 1] = '\0';
    memcpy(self.name, name, sizeof name);
    return {};
}

bool is_subreaper(process& p) {
    lock_guard guard(process_tree_lock);
    return p.subreaper;
}

} // namespace

sysresult sys_prctl(int32_t option, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
    thread& self = current_thread();
    process& p = *self.proc;
    switch (option) {
    case pr_set_pdeathsig:
        if (a2 > signal_max)
            return fail(Errno::inval);
        self.parent_death_signal = int(a2);
        return 0;
    case pr_get_pdeathsig: TRY(user_ptr<int32_t>(a2).write(self.parent_death_signal)); return 0;
    case pr_get_dumpable: return current_context()->dumpable;
    case pr_set_dumpable:
        if (a2 > 1)
            return fail(Errno::inval);
        TRY(set_dumpable(p, a2 != 0));
        return 0;
    case pr_set_name: TRY(set_name(self, vaddr_t(a2))); return 0;
    case pr_get_name: TRY(copy_out(vaddr_t(a2), self.name, sizeof self.name)); return 0;
    case pr_capbset_read:
        if (a2 > last_capability)
            return fail(Errno::inval);
        return 1;
    case pr_set_timerslack: self.timer_slack = a2 == 0 ? self.default_timer_slack : a2; return 0;
    case pr_get_timerslack: return int64_t(self.timer_slack);
    case pr_set_child_subreaper: {
        lock_guard guard(process_tree_lock);
        process_set_subreaper(p, a2 != 0);
        return 0;
    }
    case pr_get_child_subreaper: TRY(user_ptr<int32_t>(a2).write(is_subreaper(p))); return 0;
    case pr_set_no_new_privs:
        if (a2 != 1 || a3 || a4 || a5)
            return fail(Errno::inval);
        p.no_new_privileges = true;
        return 0;
    case pr_get_no_new_privs:
        if (a2 || a3 || a4 || a5)
            return fail(Errno::inval);
        return p.no_new_privileges;
    default: return fail(Errno::inval);
    }
}

sysresult sys_arch_prctl(sys_hex code, sys_address address) {
    enum : uint32_t {
        ARCH_SET_GS = 0x1001,
        ARCH_SET_FS = 0x1002,
        ARCH_GET_FS = 0x1003,
        ARCH_GET_GS = 0x1004
    };
    switch (code) {
    case ARCH_SET_FS: TRY(machine_set_fs_base(address)); return 0;
    case ARCH_SET_GS: TRY(machine_set_gs_base(address)); return 0;
    case ARCH_GET_FS: TRY(user_ptr<uint64_t>(address.address()).write(machine_fs_base())); return 0;
    case ARCH_GET_GS: TRY(user_ptr<uint64_t>(address.address()).write(machine_gs_base())); return 0;
    default: return fail(Errno::inval);
    }
}

// Only Linux's own personality is there.
sysresult sys_personality(sys_hex persona) {
    constexpr uint32_t ask = 0xffff'ffff;
    if (persona != ask && persona != 0)
        return fail(Errno::inval);
    return 0;
}

sysresult sys_getrandom(user_ptr<void> buffer, uint64_t size, sys_hex flags) {
    enum : uint32_t { GRND_NONBLOCK = 1, GRND_RANDOM = 2, GRND_INSECURE = 4 };
    if ((flags & ~(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE)) ||
        (flags & (GRND_RANDOM | GRND_INSECURE)) == (GRND_RANDOM | GRND_INSECURE))
        return fail(Errno::inval);
    size = std::min<uint64_t>(size, INT32_MAX);
    std::byte chunk[256];
    uint64_t done = 0;
    while (done < size) {
        // As on Linux, up to 256 bytes come in one piece; longer requests can be interrupted.
        if (done > 0 && signal_pending(current_thread()))
            break;
        size_t n = std::min(size - done, sizeof chunk);
        random_fill(std::span(chunk, n));
        size_t copied = copy_out_partial(buffer.address() + done, chunk, n);
        done += copied;
        if (copied < n)
            break;
    }
    memset(chunk, 0, sizeof chunk);
    if (done == 0 && size != 0)
        return fail(Errno::fault);
    return int64_t(done);
}

sysresult sys_spork_forkmode(int32_t fork_number, int32_t vfork_number) {
    return int64_t{TRY(current_process().fork_modes.change(fork_number, vfork_number))};
}

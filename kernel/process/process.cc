// Processes as objects: the table by pid, the family tree's links, creation and destruction of the
// structure. What makes one is in fork.cc, what ends one in exit.cc.
#include "kernel/process/process.h"

#include "arch/cpu.h"
#include "arch/timer.h"
#include "kernel/process/process_group.h"
#include "kernel/process/sync_point.h"
#include "lib/format.h"
#include "lib/long_work.h"
#include "lib/string.h"
#include "vm/phys/pool.h"
#include "vm/uvm_aobj.h"
#include "vm/vmspace.h"

#include <algorithm>
#include <bit>
#include <utility>

using namespace linux_abi;

spin_lock process_tree_lock{lock_rank::process_tree, "process tree"};
process* init_process = nullptr;

namespace {

constinit pool<process> processes{"process"};

// Pids: a bit for each in use, and two hash tables to find who has it. Of those some are
// processes', and a process group or session may be called by one whose process has gone.
constexpr pid_t first_recycled_pid = 300; // as Linux: low numbers are given out once
constexpr unsigned buckets = 256;
constinit uint64_t pids_in_use[pid_max / 64] GUARDED_BY(process_tree_lock) = {};
constinit uint64_t pids_of_processes[pid_max / 64] GUARDED_BY(process_tree_lock) = {};
constinit uint64_t pids_of_groups[pid_max / 64] GUARDED_BY(process_tree_lock) = {};
// 1 is init's, which asks for it by being the first user process.
constinit pid_t next_pid GUARDED_BY(process_tree_lock) = 2;
list<process, &process::in_table> process_table[buckets] GUARDED_BY(process_tree_lock);
list<thread, &thread::in_tid_table> thread_table[buckets] GUARDED_BY(process_tree_lock);
constinit unsigned process_total GUARDED_BY(process_tree_lock) = 0;
constinit unsigned subreapers GUARDED_BY(process_tree_lock) = 0;

bool in_use(pid_t pid) REQUIRES(process_tree_lock) {
    return pids_in_use[pid / 64] >> (pid % 64) & 1;
}
void mark(uint64_t (&pids)[pid_max / 64], pid_t pid, bool used) {
    uint64_t bit = uint64_t{1} << (pid % 64);
    if (used)
        pids[pid / 64] |= bit;
    else
        pids[pid / 64] &= ~bit;
}
void mark(pid_t pid, bool used) REQUIRES(process_tree_lock) { mark(pids_in_use, pid, used); }

// The first number from `from` on for which bits_of(i) has its bit set in the word for 64 numbers;
// pid_max if there is none.
template <class Bits> pid_t first_with_bit(pid_t from, Bits bits_of) {
    uint64_t mask = UINT64_MAX << (from % 64);
    for (pid_t word = from / 64; word < pid_max / 64; word++, mask = UINT64_MAX)
        if (uint64_t bits = bits_of(word) & mask)
            return word * 64 + std::countr_zero(bits);
    return pid_max;
}

pid_t first_with_bit(pid_t from, const uint64_t (&bits)[pid_max / 64]) {
    return first_with_bit(from, [&](pid_t word) { return bits[word]; });
}

pid_t first_free(pid_t from) REQUIRES(process_tree_lock) {
    return first_with_bit(from, [](pid_t word) NO_THREAD_SAFETY_ANALYSIS {
        return ~(pids_in_use[word] | pids_of_groups[word]);
    });
}

constexpr linux_rlimit default_limits[rlimit_count] = {
    {UINT64_MAX, UINT64_MAX},           // CPU
    {UINT64_MAX, UINT64_MAX},           // FSIZE
    {UINT64_MAX, UINT64_MAX},           // DATA
    {8 * 1024 * 1024, UINT64_MAX},      // STACK
    {0, UINT64_MAX},                    // CORE
    {UINT64_MAX, UINT64_MAX},           // RSS
    {4096, 4096},                       // NPROC
    {1024, 1024 * 1024},                // NOFILE
    {8 * 1024 * 1024, 8 * 1024 * 1024}, // MEMLOCK
    {UINT64_MAX, UINT64_MAX},           // AS
    {UINT64_MAX, UINT64_MAX},           // LOCKS
    {4096, 4096},                       // SIGPENDING
    {819200, 819200},                   // MSGQUEUE
    {0, 0},                             // NICE
    {0, 0},                             // RTPRIO
    {UINT64_MAX, UINT64_MAX},           // RTTIME
};

} // namespace

process::process() : context(security_context::of_the_kernel()) {
    std::copy(std::begin(default_limits), std::end(default_limits), limits);
}

process::~process() {
    ASSERT(threads.empty() && children.empty() && news.empty() && cpu_alarms.all.empty());
    ASSERT(!among_children.linked() && !among_news.linked() && !among_members.linked());
    ASSERT(!in_table.linked());
    ASSERT(!context->vm && !executable);
}

uint64_t process_vm_limit(vm_limit which) {
    static constexpr unsigned resources[] = {rlimit_as, rlimit_data, rlimit_stack, rlimit_memlock};
    process& self = current_process();
    lock_guard guard(self.lock);
    if (which == vm_limit::memlock && self.context->cred.superuser())
        return vm_unlimited;
    return self.limits[resources[unsigned(which)]].current;
}

ref_ptr<vm_aftermath> process_vm_borrowing(const vmspace& borrowed) {
    const thread& self = current_thread();
    return self.vm == &borrowed ? ref_ptr<vm_aftermath>(self.borrowing) : nullptr;
}

process* process_allocate() { return processes.create(); }

void process::last_reference_gone() { processes.destroy(this); }

process& kernel_process() {
    static process the_kernel;
    return the_kernel;
}

process& current_process() { return *current_thread().proc; }

usage process_usage(process& p) {
    usage u = p.own_usage;
    for (const thread& t : p.threads)
        u.add(thread_usage(t));
    return u;
}

pid_t pid_allocate() {
    lock_guard guard(process_tree_lock);
    pid_t pid = first_free(next_pid);
    if (pid == pid_max)
        pid = first_free(first_recycled_pid);
    if (pid == pid_max)
        return 0;
    mark(pid, true);
    next_pid = pid + 1 < pid_max ? pid + 1 : first_recycled_pid;
    return pid;
}

void pid_release(pid_t pid) {
    if (pid == 0)
        return;
    lock_guard guard(process_tree_lock);
    ASSERT(in_use(pid));
    mark(pid, false);
}

pid_t pid_allocate_for_init() {
    lock_guard guard(process_tree_lock);
    ASSERT(!in_use(1));
    mark(1, true);
    return 1;
}

process* process_lookup(pid_t pid) {
    for (process& p : process_table[unsigned(pid) % buckets])
        if (p.pid == pid)
            return &p;
    return nullptr;
}

ref_ptr<process> process_find(pid_t pid) {
    ref_ptr<process> found;
    {
        lock_guard guard(process_tree_lock);
        found = ref_ptr<process>(process_lookup(pid));
    }
    at_sync_point(sync_point::object_found);
    return found;
}

ref_ptr<thread> thread_find(pid_t tid) {
    ref_ptr<thread> found;
    {
        lock_guard guard(process_tree_lock);
        for (thread& t : thread_table[unsigned(tid) % buckets])
            if (t.tid == tid)
                found = ref_ptr<thread>(&t);
    }
    at_sync_point(sync_point::object_found);
    return found;
}

process* process_look_next(pid_t from) {
    if (from >= pid_max)
        return nullptr;
    const pid_t pid = first_with_bit(std::max(from, 1), pids_of_processes);
    return pid == pid_max ? nullptr : process_lookup(pid);
}

ref_ptr<process> process_next(pid_t from) {
    lock_guard guard(process_tree_lock);
    return ref_ptr<process>(process_look_next(from));
}

unsigned process_count() {
    lock_guard guard(process_tree_lock);
    return process_total;
}

void process_publish(ref_ptr<process> child, ref_ptr<thread> first, process& parent,
                     process& maker) {
    process& p = *child;
    p.set_parent(&parent);
    parent.children.push_back(std::move(child));
    process_table[unsigned(p.pid) % buckets].push_back(p);
    mark(pids_of_processes, p.pid, true);
    process_total++;
    group_enter(p, maker);
    thread_publish(std::move(first));
    (void)group_retie(p);
}

void thread_publish(ref_ptr<thread> t) {
    process& p = *t->proc;
    p.live_threads++;
    thread_table[unsigned(t->tid) % buckets].push_back(*t);
    p.threads.push_back(std::move(t));
}

ref_ptr<thread> thread_unpublish(thread& t) {
    process& p = *t.proc;
    ref_ptr<thread> from_process = p.threads.remove(t);
    {
        lock_guard own(p.lock);
        if (t.tid == p.pid)
            p.cpus_of_first = t.allowed_cpus;
        // The last one's task is the zombie's; the kernel's own threads are nobody's.
        if (!p.threads.empty() && p.tasks.units())
            (void)p.tasks.resize(p.tasks.units() - 1, user_charge::no_limit);
    }
    thread_table[unsigned(t.tid) % buckets].remove(t);
    if (t.tid != p.pid)
        mark(t.tid, false);
    p.own_usage.add(thread_usage(t)); // up to now
    p.thread_gone.wake_all();
    return from_process;
}

void thread_take_over_pid(thread& t) {
    process& p = *t.proc;
    if (t.tid == p.pid)
        return;
    thread_table[unsigned(t.tid) % buckets].remove(t);
    mark(t.tid, false);
    t.tid = p.pid;
    thread_table[unsigned(t.tid) % buckets].push_back(t);
}

ref_ptr<process> process_unpublish(process& p) {
    ASSERT(p.state == process_state::zombie);
    ref_ptr<process> from_parent = p.parent->children.remove(p);
    if (p.among_news.linked())
        p.parent->news.remove(p);
    p.set_parent(nullptr);
    process_table[unsigned(p.pid) % buckets].remove(p);
    process_total--;
    group_leave(p);
    mark(pids_of_processes, p.pid, false);
    mark(p.pid, false);
    {
        lock_guard own(p.lock);
        p.tasks = {};
    }
    return from_parent;
}

void process_has_news(process& p) {
    if (p.among_news.linked())
        p.parent->news.remove(p);
    p.parent->news.push_back(p);
}

void process_set_state(process& p, process_state state) {
    p.group->stopped += (state == process_state::stopped) - (p.state == process_state::stopped);
    p.state = state;
}

void process_set_subreaper(process& p, bool on) {
    subreapers += on - p.subreaper;
    p.subreaper = on;
}

unsigned process_subreapers() { return subreapers; }

process* child_scan::next(lock_guard<spin_lock>& tree) {
    constexpr unsigned at_once = 64;
    if (at_ && ++steps_ % at_once == 0) {
        const ref_ptr<process> kept(at_);
        long_work::pause_without(tree);
        if (at_->parent != &parent_ || (which_ == with_news && !at_->among_news.linked()))
            at_ = nullptr;
    }
    if (which_ == with_news)
        at_ = at_ ? parent_.news.next(*at_) : parent_.news.front();
    else
        at_ = at_ ? parent_.children.next(*at_) : parent_.children.front();
    return at_;
}

void pid_keep(pid_t pid, bool keep) { mark(pids_of_groups, pid, keep); }

pid_t pid_next_kept(pid_t pid) {
    if (pid >= pid_max)
        return pid_max;
    return first_with_bit(pid, pids_of_groups);
}

thread* thread_look_next(pid_t from) {
    for (; from < pid_max; from++) {
        from = first_with_bit(from, pids_in_use);
        if (from == pid_max)
            break;
        for (thread& t : thread_table[unsigned(from) % buckets])
            if (t.tid == from)
                return &t;
    }
    return nullptr;
}

// ---- Who it is, and what memory it has ----------------------------------------------------------

ref_ptr<const security_context> process_context(process& p) {
    lock_guard guard(p.lock);
    return p.context;
}

ref_ptr<const security_context> current_context() { return process_context(current_process()); }

ref_ptr<const security_context> process_exchange_context(process& p,
                                                         ref_ptr<const security_context> next) {
    lock_guard guard(p.lock);
    return std::exchange(p.context, std::move(next));
}

bool process_replace_context(process& p, const ref_ptr<const security_context>& seen,
                             ref_ptr<const security_context> next) {
    lock_guard guard(p.lock);
    if (p.context != seen)
        return false;
    std::swap(p.context, next); // `seen` keeps what was there until the lock is free
    return true;
}

ref_ptr<vmspace> process_vmspace(process& p) {
    lock_guard guard(p.lock);
    return p.context->vm;
}

credentials process_credentials(process& p) {
    lock_guard guard(p.lock);
    return p.context->cred;
}

credentials current_credentials() { return process_credentials(current_process()); }

uint32_t process_uid(process& p) {
    lock_guard guard(p.lock);
    return p.context->cred.uid;
}

uint64_t process_program(process& p) {
    lock_guard guard(p.lock);
    return p.context->program;
}

bool may_access(process& p, const security_context& its, access_mode mode) {
    return &p == &current_process() || credentials_may_access(current_credentials(), its, mode);
}

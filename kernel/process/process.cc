// Processes as objects: the table by pid, the family tree's links, what ties a group to its session,
// creation and destruction of the structure. What makes one is in fork.cc, what ends one in exit.cc.
#include "kernel/process/process.h"

#include "arch/cpu.h"
#include "arch/timer.h"
#include "kernel/process/pid.h"
#include "kernel/process/sync_point.h"
#include "lib/format.h"
#include "lib/long_work.h"
#include "lib/string.h"
#include "vm/phys/pool.h"
#include "vm/uvm_aobj.h"
#include "vm/vmspace.h"

#include <algorithm>
#include <utility>

using namespace linux_abi;

spin_lock process_tree_lock{lock_rank::process_tree, "process tree"};
process* init_process = nullptr;

namespace {

constinit pool<process> processes{"process"};

// Who has a pid is found in two hash tables.
constexpr unsigned buckets = 256;
list<process, &process::in_table> process_table[buckets] GUARDED_BY(process_tree_lock);
constinit unsigned process_total GUARDED_BY(process_tree_lock) = 0;
constinit unsigned subreapers GUARDED_BY(process_tree_lock) = 0;

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
    ASSERT(!in_table.linked() && trace_news.empty() && !end_traced);
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

process* process_look_next(pid_t from) {
    if (from >= pid_max)
        return nullptr;
    const pid_t pid = pid_next_process(std::max(from, 1));
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
    pid_of_process(p.pid, true);
    process_total++;
    group_enter(p, maker, p.state);
    thread_publish(std::move(first));
    (void)group_retie(p);
}

ref_ptr<process> process_unpublish(process& p) {
    ASSERT(p.state == process_state::zombie);
    ref_ptr<process> from_parent = p.parent->children.remove(p);
    if (p.among_news.linked())
        p.parent->news.remove(p);
    p.set_parent(nullptr);
    process_table[unsigned(p.pid) % buckets].remove(p);
    process_total--;
    group_leave(p, p.state);
    pid_of_process(p.pid, false);
    pid_free(p.pid);
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

// Whether `p` could be continued by a parent in another group of its session.
static bool is_tie(const process& p) REQUIRES(process_tree_lock) {
    const process* parent = p.parent;
    return p.live_threads != 0 && parent && parent != init_process && parent->group &&
           parent->group != p.group && parent->group->sess == p.group->sess;
}

bool group_retie(process& p) {
    const bool before = std::exchange(p.ties, is_tie(p));
    process_group& group = *p.group;
    group.ties += p.ties - before;
    return before && group.ties == 0 && group.stopped != 0;
}

pid_t current_group() {
    lock_guard tree(process_tree_lock);
    return current_process().group->id;
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

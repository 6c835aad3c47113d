// The threads of a process: made, put where others find them, taken out, and gone.
#include "kernel/base/panic.h"
#include "kernel/process/pid.h"
#include "kernel/process/process.h"
#include "kernel/process/sync_point.h"
#include "kernel/process/trace_links.h"
#include "lib/format.h"
#include "vm/phys/pool.h"

#include <utility>

namespace {

constinit pool<thread> threads{"thread"};
constexpr unsigned buckets = 256;
list<thread, &thread::in_tid_table> thread_table[buckets] GUARDED_BY(process_tree_lock);

} // namespace

thread::thread() = default;

thread::~thread() {
    if (machine.stack_base)
        machine_thread_destroy(machine);
    if (proc)
        proc->unfreed_threads.fetch_sub(1, std::memory_order_release);
}

expected<ref_ptr<thread>> thread_create(process& owner) {
    auto t = ref_ptr<thread>::adopt(threads.create());
    if (!t)
        return fail(Errno::nomem);
    TRY(machine_thread_create(t->machine));
    owner.unfreed_threads.fetch_add(1, std::memory_order_relaxed);
    t->proc = ref_ptr(&owner);
    return t;
}

void thread::last_reference_gone() { threads.destroy(this); }

usage process_usage(process& p) {
    usage u = p.own_usage;
    for (const thread& t : p.threads)
        u.add(thread_usage(t));
    return u;
}

thread* thread_lookup(pid_t tid) {
    for (thread& t : thread_table[unsigned(tid) % buckets])
        if (t.tid == tid)
            return &t;
    return nullptr;
}

ref_ptr<thread> thread_find(pid_t tid) {
    ref_ptr<thread> found;
    {
        lock_guard guard(process_tree_lock);
        found = ref_ptr<thread>(thread_lookup(tid));
    }
    at_sync_point(sync_point::object_found);
    return found;
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
        pid_free(t.tid);
    p.own_usage.add(thread_usage(t)); // up to now
    p.thread_gone.wake_all();
    return from_process;
}

void thread_take_over_pid(thread& t) {
    process& p = *t.proc;
    if (t.tid == p.pid)
        return;
    if (p.end_traced) // of the first one: `t` takes its place
        trace_unlink(*p.end_traced);
    thread_table[unsigned(t.tid) % buckets].remove(t);
    pid_free(t.tid);
    t.tid = p.pid;
    thread_table[unsigned(t.tid) % buckets].push_back(t);
}

thread* thread_look_next(pid_t from) {
    for (; from < pid_max; from++) {
        from = pid_next(from);
        if (from == pid_max)
            break;
        for (thread& t : thread_table[unsigned(from) % buckets])
            if (t.tid == from)
                return &t;
    }
    return nullptr;
}

void panic_describe_thread(thread* t, char* out, size_t size) {
    if (!t) {
        format_to(out, size, "no thread");
        return;
    }
    const char* why = t->wait_reason;
    pid_t pid = t->proc ? t->proc->pid : 0;
    format_to(out, size, "%d/%d %.15s%s%s%s", pid, t->tid, t->name,
              t->kernel_thread ? " (kernel)" : "", why ? ", in " : "", why ? why : "");
}

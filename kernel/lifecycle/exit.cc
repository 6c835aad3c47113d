// The end of threads and processes.
//
//      exit_group, a fatal signal: every thread leaves          exit: this thread leaves
//                      \_________________________________________/
//                                       |
//                                  thread_exit
//       1. what finds the thread            no signal and no timer is for it any more
//       2. what needs the address space     futexes, clear_child_tid
//       3. the address space                the last thread drops it, then a vfork parent wakes
//       4. descriptors, cwd
//       5. (last thread)                    alarms, timers; the session's terminal; the ledger's entry
//       6. the family (leave_family)        the last thread waits until the others have come to here,
//                                           and the children find a new parent
//       7. (last thread) zombie             the parent hears of it; wait4 does the rest
//                                       |
//                                  sched_exit
#include "arch/cpu.h"
#include "arch/machine.h"
#include "arch/pmap.h"
#include "kernel/abi/syscalls.h"
#include "kernel/files/file.h"
#include "kernel/files/fs_context.h"
#include "kernel/files/vfs.h"
#include "kernel/files/vnode.h"
#include "kernel/lifecycle/exec.h"
#include "kernel/lifecycle/ptrace.h"
#include "kernel/lifecycle/seams.h"
#include "kernel/lifecycle/vfork_wait.h"
#include "kernel/memory/futex.h"
#include "kernel/process/ledger_call.h"
#include "kernel/process/process.h"
#include "kernel/process/sync_point.h"
#include "kernel/sched/sched.h"
#include "kernel/signal/end_signal.h"
#include "kernel/signal/session.h"
#include "kernel/signal/signal.h"
#include "kernel/signal/trace.h"
#include "kernel/time/cpu_clock.h"
#include "kernel/time/itimer.h"
#include "kernel/time/posix_timers.h"
#include "lib/long_work.h"
#include "lib/string.h"
#include "vm/phys/alloc_fail.h"
#include "vm/phys/event.h"
#include "vm/phys/pool.h"
#include "vm/uvm_aobj.h"
#include "vm/vmspace.h"

#include <algorithm>

using namespace linux_abi;

namespace {

// Returns how many pages it had resident at most.
uint64_t drop_address_space(process& p) {
    process_set_executable(p, nullptr);
    ref_ptr<vmspace> vm = process_vmspace(p);
    (void)process_exchange_context(p, process_context(p)->without_memory);
    const uint64_t most_resident = vm->get_sizes().peak_resident_pages;
    const trace::addr left = vm.get();
    const uint32_t others = vm->references() - 1;
    vm.reset();
    if (others != 0)
        EVENT(vmspace_released, .vmspace = left, .references = others);
    return most_resident;
}

void drop_files(thread& self) {
    ref_ptr<fd_table> files;
    ref_ptr<fs_context> fs;
    {
        lock_guard guard(self.lock);
        files = self.files.take();
        fs = self.fs.take();
    }
}

// Who gets the children of a process that ends: the nearest ancestor that asked for it, or init. A
// chain of ancestors may be deep: `tree` is let go of after some, and if the one it has come to
// ends meanwhile, it begins again.
process& new_parent_for_children(process& p, lock_guard<spin_lock>& tree)
    REQUIRES(process_tree_lock) {
    constexpr unsigned at_once = 256;
    unsigned steps = 0;
    if (!process_subreapers())
        return *init_process;
    for (process* a = p.parent; a != init_process; a = a->parent) {
        if (++steps % at_once == 0) {
            const ref_ptr<process> kept(a);
            long_work::pause_without(tree);
            if (a->state == process_state::zombie)
                a = &p;
        }
        if (a != &p && a->subreaper && a->live_threads != 0)
            return *a;
    }
    return *init_process;
}

// PR_SET_PDEATHSIG: what the threads of `child` asked for when the one that made it would end.
void send_death_signals(process& child, process& parent) REQUIRES(process_tree_lock) {
    for (thread& t : child.threads) {
        const int signo = t.parent_death_signal;
        if (!signo)
            continue;
        linux_siginfo info{};
        info.signo = signo;
        info.code = si_user;
        info.child.pid = parent.pid;
        info.child.uid = process_uid(parent);
        signal_send_process_locked(child, signo, &info);
    }
}

// Who has the children of a thread that ends, other than the last of its process.
thread* heir_of_thread(process& p) REQUIRES(process_tree_lock) {
    if (p.signals.exiting) {
        signal_guard guard(*p.handlers);
        return p.signals.survivor;
    }
    for (thread& t : p.threads)
        if (!(t.signals.flags.load() & signal_flag_gone))
            return &t;
    return nullptr;
}

// A thread that is not the last one of its process ends: another one has its children. If the
// process is ending with it, they hear of that end alone.
void leave_children(process& p, const thread& self, lock_guard<spin_lock>& tree)
    REQUIRES(process_tree_lock) {
    child_scan children(p, child_scan::all);
    while (process* child = children.next(tree)) {
        if (child->parent_thread != &self)
            continue;
        child->parent_thread = heir_of_thread(p);
        if (child->parent_thread)
            send_death_signals(*child, p);
    }
}

using process_list = ref_list<process, &process::among_children>;

// Hands some children over. Zombies among them that nobody wants go to `discarded`. It stops behind
// one whose stopped group is orphaned by that, and returns the group.
ref_ptr<process_group> reparent_some(process& p, process& reaper, process_list& discarded)
    REQUIRES(process_tree_lock) {
    constexpr unsigned at_once = 8;
    for (unsigned i = 0; i < at_once && !p.children.empty(); i++) {
        const ref_ptr<process> child = p.children.pop_front();
        const bool news = child->among_news.linked();
        if (news)
            p.news.remove(*child);
        child->set_parent(&reaper);
        if (news)
            process_has_news(*child);
        child->exit_signal = sigchld;
        reaper.children.push_back(child);
        child->parent_thread = reaper.threads.front();
        send_death_signals(*child, p);
        const bool orphaned = group_retie(*child);
        if (child->state == process_state::zombie && tell_parent_of_end(*child)) {
            discarded.push_back(process_unpublish(*child));
        }
        if (orphaned)
            return child->group;
    }
    return nullptr;
}

// Until there are none any more, at an instant at which `tree` is held.
void reparent_all(process& p, process_list& discarded, lock_guard<spin_lock>& tree)
    REQUIRES(process_tree_lock) {
    while (!p.children.empty()) {
        process& reaper = new_parent_for_children(p, tree);
        const ref_ptr<process_group> orphaned = reparent_some(p, reaper, discarded);
        process_tree_lock.unlock();
        if (orphaned)
            group_hang_up(orphaned->id);
        long_work::pause();
        process_tree_lock.lock();
    }
}

void become_zombie(process& p, uint64_t left, process_list& discarded) REQUIRES(process_tree_lock) {
    p.left_bytes = left;
    p.parent->zombie_bytes += left;
    process_set_state(p, process_state::zombie);
    process_set_subreaper(p, false);
    process_has_news(p);
    EVENT(exit_zombie, .status = uint64_t(uint32_t(p.wait_status)));
    if (!trace_process_ends(p) && tell_parent_of_end(p))
        discarded.push_back(process_unpublish(p));
}

// The thread leaves its process. The last one hands the children on and leaves a zombie, a pid and a
// status, for the parent.
void leave_family(thread& self, bool last, uint64_t most_resident, int wait_status) {
    process& p = *self.proc;
    const uint64_t left = last ? process_bytes + p.costs.footprint() : 0;
    process_list discarded;       // by whom nobody waits for: let go of without the lock,
    ref_ptr<thread> from_process; // as this
    {
        lock_guard tree(process_tree_lock);
        // Those that were not the last are on their way yet: with files that the parent expects to
        // be closed, and time used that it is told.
        while (last && (p.threads.next(self) || p.threads.prev(self)))
            p.thread_gone.wait(process_tree_lock, "exit");
        trace_thread_ends(self, p.signals.exiting ? p.group_exit_status : wait_status);
        if (last && &p == init_process)
            panic("Attempted to kill init! wait status 0x%08x", unsigned(p.group_exit_status));
        if (last)
            reparent_all(p, discarded, tree);
        else
            leave_children(p, self, tree);
        from_process = thread_unpublish(self);
        if (last) {
            p.own_usage.max_rss_pages = std::max(p.own_usage.max_rss_pages, most_resident);
            p.wait_status = p.group_exit_status;
            memcpy(p.last_name, self.name, sizeof(p.last_name));
            become_zombie(p, left, discarded);
            check_exit_seam(p);
        }
    }
    while (discarded.pop_front())
        long_work::pause();
}

} // namespace

void thread_exit(int wait_status) {
    thread& self = current_thread();
    process& p = *self.proc;
    ASSERT(!self.kernel_thread);
    at_sync_point(sync_point::exit_begins);
    EVENT(exit_begin, .status = uint64_t(uint32_t(wait_status)));

    trace_exit(self, wait_status);
    signal_thread_exiting(self);
    tracer_exiting(self);
    posix_timers_thread_exiting(self);
    futex_thread_exit(self); // needs the address space
    thread_enter_vmspace(nullptr);
    bool last;
    {
        lock_guard guard(process_tree_lock);
        // The status of a process is that of exit_group, else that of its first thread.
        if (!p.signals.exiting && self.tid == p.pid)
            p.group_exit_status = wait_status;
        last = --p.live_threads == 0;
    }
    at_sync_point(sync_point::exit_leaves);
    ledger_call cost;
    uint64_t most_resident = 0;
    if (last) {
        cost.begin(ledger_kind::exit);
        most_resident = drop_address_space(p);
    }
    vfork_release(self, &wait_status);
    drop_files(self);
    if (last) {
        cpu_alarms_process_exiting(p);
        itimer_process_exiting(p);
        posix_timers_delete(p);
        session_process_exiting(p);
        cost.keep();
        cost.end(); // before the parent can ask for it
    }

    leave_family(self, last, most_resident, wait_status);
    (void)alloc_fail_after(0); // a test's, which has not come to pass
    sched_exit();
}

void process_exit_group(int wait_status) {
    process& p = current_process();
    (void)signal_begin_exit(p, nullptr, wait_status);
    int status;
    {
        lock_guard guard(process_tree_lock);
        status = p.group_exit_status; // somebody else's, if that came first
    }
    thread_exit(status);
}

sysresult sys_exit(int32_t code) { thread_exit((code & 0xff) << 8); }

sysresult sys_exit_group(int32_t code) { process_exit_group((code & 0xff) << 8); }

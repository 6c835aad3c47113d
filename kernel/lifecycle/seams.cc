#include "kernel/lifecycle/seams.h"

#include "arch/cpu.h"
#include "arch/pmap.h"
#include "arch/thread.h"
#include "arch/uaccess.h"
#include "kernel/files/file.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "kernel/sched/sched.h"
#include "lib/assert.h"
#include "lib/lock.h"
#include "vm/phys/pool.h"
#include "vm/uvm_aobj.h"
#include "vm/uvm_commit.h"
#include "vm/vmspace.h"

#include <cstring>
#include <machine/trap_frame.h>

namespace {

bool looked_at() {
#if SPORK_CHECKS
    return uvm_check_at_seams.load(std::memory_order_relaxed);
#else
    return false;
#endif
}

// `p`: of whom it is a rule.
#define RULE(condition, p, rule)                                                                   \
    do {                                                                                           \
        if (!(condition)) [[unlikely]]                                                             \
            panic("broken rule: %s; process %d", rule, (p).pid);                                   \
    } while (0)

const vmspace* memory_of(process& p) {
    lock_guard guard(p.lock);
    return p.context->vm.get();
}

bool has_program(process& p) {
    lock_guard guard(p.lock);
    return bool(p.executable);
}

} // namespace

namespace {

// Asks the processor itself, by a store of what is there: it forbids one to the page that the
// program's stack is on, if the page table does.
bool store_is_refused(thread& self) {
    const vaddr_t at(machine_user_frame(self.machine).user_sp().value() & ~uint64_t{7});
    {
        lock_guard tree(process_tree_lock);
        if (self.vm->references() != 1 || self.proc->live_threads != 1)
            return true;
    }
    auto read_only = [&] {
        const auto mapping = at < user_max ? self.user_map->lookup(at.page_down()) : std::nullopt;
        return mapping && !allows(mapping->prot, vm_prot::write);
    };
    // Asked again, for another process may write into this one's memory meanwhile.
    return !read_only() || !user_compare_exchange(at, 0, 0) || !read_only();
}

} // namespace

void check_fork_seam(thread& child, bool shares_vm, bool shares_files) {
    if (!looked_at())
        return;
    thread& self = current_thread();
    process& p = *child.proc;
    RULE(child.vm && child.vm == memory_of(p), p,
         "fork: the child's thread runs in the child's address space");
    RULE((child.vm == self.vm) == shares_vm, p,
         "fork: the child has its parent's address space if that is shared, and else its own");
    RULE(child.user_map == &child.vm->physical_map(), p,
         "fork: the page table that is loaded for the child is its address space's");
    RULE(child.files && child.fs, p, "fork: the child has descriptors and a directory");
    RULE(
        (child.files == self.files) == shares_files, p,
        "fork: the child has its parent's descriptors if they are shared, and else a copy of them");
    RULE(machine_user_frame(child.machine).result() == 0, p,
         "fork: the child finds 0 as its result");
    RULE(child.sleep_locks.count == 0, p, "fork: the child begins without a lock");
    RULE(shares_vm || store_is_refused(self), *self.proc,
         "fork: a right to write that fork takes from the parent's page table is in no TLB any "
         "more");
}

void check_vfork_wait_seam(bool over) {
    if (looked_at())
        RULE(
            over || signal_kill_pending(current_thread()), current_process(),
            "vfork: the parent goes on when the child has let go of its address space, not before");
}

void check_woken_seam(bool woken) {
    if (looked_at())
        RULE(woken, current_process(),
             "vfork: the parent is woken when its child lets go of the address space");
}

void check_vfork_release_seam(const thread& self, bool by_exec) {
    if (!looked_at() || self.kernel_thread) // a test's
        return;
    process& p = *self.proc;
    RULE(!self.vfork_parent && self.borrowed_from == 0, p,
         "vfork: a child that has let go borrows nothing any more");
    if (by_exec) {
        lock_guard tree(process_tree_lock);
        RULE(self.vm && (!p.parent || self.vm != memory_of(*p.parent)), p,
             "vfork: when the parent goes on, the child runs in another address space");
    } else {
        RULE(!self.vm && !self.user_map, p,
             "vfork: when the parent goes on, a child that ends is in no address space");
    }
}

void check_exec_seam(thread& self) {
    if (!looked_at())
        return;
    process& p = *self.proc;
    RULE(!self.vfork_parent && self.borrowed_from == 0, p,
         "exec: a parent that waits in vfork goes on, for its address space is let go of");
    RULE(self.vm && self.vm == memory_of(p) && self.user_map == &self.vm->physical_map(), p,
         "exec: the thread runs in its new program's address space");
    {
        lock_guard tree(process_tree_lock);
        RULE(!p.parent || self.vm != memory_of(*p.parent), p,
             "exec: the new program has an address space of its own");
        RULE(p.threads.front() == &self && !p.threads.next(self) && self.tid == p.pid, p,
             "exec: the new program has one thread, with the process's number");
    }
    RULE(self.alt_stack.size == 0, p, "exec: the new program has no stack for signals yet");
    {
        signal_guard guard(*p.handlers);
        for (int signo = 1; signo <= signal_max; signo++)
            RULE(p.handlers->action(signo).handler <= 1, p,
                 "exec: no signal has a handler in the old program");
    }
    constexpr unsigned most = 64;
    int fd = self.files->next_open(0);
    for (unsigned i = 0; fd >= 0 && i < most; i++, fd = self.files->next_open(fd + 1)) {
        const auto closes = self.files->close_on_exec(fd);
        RULE(!closes || !*closes, p, "exec: descriptors with close-on-exec are closed");
    }
}

void check_exit_seam(process& p) {
    if (!looked_at())
        return;
    RULE(!current_thread().vfork_parent, p,
         "exit: a parent that waits in vfork goes on, for its address space is let go of");
    RULE(!memory_of(p), p, "exit: a zombie has no address space");
    RULE(!has_program(p), p, "exit: a zombie has no program");
    RULE(!current_thread().files && !current_thread().fs, p,
         "exit: a zombie has no descriptors: who reads from its pipes finds their end");
    RULE(p.wait_status == p.group_exit_status, p,
         "exit: a zombie's status is what its program ended with");
    RULE(p.children.empty() && p.news.empty() && p.zombie_bytes == 0, p,
         "exit: a zombie's children are another's");
    RULE(p.threads.empty() && p.live_threads == 0, p, "exit: a zombie has no threads");
    if (!p.parent)
        return; // nobody wanted to wait for it
    RULE(p.among_children.linked() && p.among_news.linked(), p,
         "exit: a zombie is among its parent's news");
    RULE(p.parent->child_changed.empty(), p, "exit: a parent that waits is woken");
}

void check_usage_seam(process& parent, const usage& used) {
    if (looked_at())
        RULE(parent.child_usage.minor_faults >= used.minor_faults &&
                 parent.child_usage.user_time >= used.user_time,
             parent, "wait: what a child has used is in its parent's account of its children");
}

void check_wait_seam(pid_t pid, uint64_t serial) {
    if (!looked_at())
        return;
    lock_guard tree(process_tree_lock);
    const process* found = process_lookup(pid);
    RULE(!found || found->serial.value() != serial, *found,
         "wait: a zombie that was waited for is in no table and no list");
}

void check_call_seam(const thread& self, const char* call) {
    if (!looked_at())
        return;
    auto rule = [&](bool holds, const char* text) {
        if (!holds) [[unlikely]]
            panic("broken rule: %s; after %s of process %d", text, call ? call : "an unknown call",
                  self.proc->pid);
    };
    rule(self.sleep_locks.count == 0 && cpu_held_locks().count == 0,
         "a system call ends without a lock");
    rule(cpu::interrupts_enabled(), "a system call ends with interrupts on");
    rule(!user_memory_is_open(), "a system call ends with SMAP in force: AC is clear");
    rule(self.vm && self.vm == memory_of(*self.proc) && self.user_map == &self.vm->physical_map(),
         "a system call returns into its process's address space");
}

// ---- The end -----------------------------------------------------------------------------------

namespace {

uint64_t live(const char* name) {
    for (pool_base* p = pool_base::first(); p; p = p->next())
        if (strcmp(p->name(), name) == 0)
            return p->live();
    return 0;
}

// What is said of the first rule that is broken; null: none.
const char* left_behind() {
    const vmspace::holding has = current_vmspace().holds();
    if (live("process") != 1)
        return "wait: a process that was waited for is freed";
    if (live("vmspace") != 1)
        return "exit: an address space goes with the last process that has it";
    if (live("vm_map_entry") != has.entries)
        return "exit: an address space's entries go with it";
    if (live("vm_amap") != has.amaps)
        return "exit: an amap goes with the last entry that refers to it";
    if (live("vm_anon") != has.anons)
        return "exit: an anon, and its page, go with the last amap that has it";
    if (uvm_commit::committed() != has.charged + uvm_aobj::charged_pages())
        return "exit: what was promised to an address space is given back to the commit account";
    return nullptr;
}

} // namespace

void check_power_off_seam() {
    if (!looked_at() || &current_process() != init_process || process_count() != 1)
        return;
    constexpr nanos_t settling = nanos_per_second / 10; // what CPUs have still to give back
    const nanos_t deadline = now() + settling;
    const char* broken = left_behind();
    while (broken && now() < deadline) {
        sched_sleep_until(now() + settling / 20);
        broken = left_behind();
    }
    if (!broken)
        return;
    const vmspace::holding has = current_vmspace().holds();
    panic(
        "broken rule: %s; only init is left, and there are %lu processes, %lu address spaces, %lu "
        "entries (init's: %lu), %lu amaps (%lu), %lu anons (%lu), %lu pages promised (%lu)",
        broken, live("process"), live("vmspace"), live("vm_map_entry"), has.entries,
        live("vm_amap"), has.amaps, live("vm_anon"), has.anons, uvm_commit::committed(),
        has.charged + uvm_aobj::charged_pages());
}

// Out of memory. Spork has no swap and promises more than it has in modes 0 and 1, so a page
// fault may find no page. Linux searches for a process to kill; here it is the one that faults,
// which cannot go on anyway, unless it is protected. A system call that runs out of kernel memory
// gets ENOMEM and never comes here.
#include "kernel/oom.h"

#include "arch/pmap.h"
#include "arch/timer.h"
#include "kernel/printk.h"
#include "kernel/process.h"
#include "kernel/signal.h"
#include "lib/format.h"
#include "vm/vm_page.h"

#include <algorithm>

namespace {

using ull = unsigned long long;

constexpr nanos_t retry_after = 1'000'000;
constexpr unsigned most_retries = 1000; // of an access in the kernel, which may hold locks

bool is_protected(const process& p) {
    return &p == init_process || p.oom_score_adj.load() == oom_score_adj_min;
}

// Linux's measure: pages that would come free, and a thousandth of memory per point.
int64_t badness(process& p) {
    ref_ptr<vmspace> vm = process_vmspace(p);
    if (!vm || is_protected(p))
        return 0;
    const auto total = int64_t(vm_page_get_statistics().total);
    const int64_t held =
        int64_t(vm->physical_map().resident_pages()) + int64_t(vm->physical_map().table_pages());
    return std::max<int64_t>(1, held + p.oom_score_adj.load() * total / oom_score_adj_max);
}

void log_killing(process& p, const char* name, const char* why) {
    vmspace::sizes held{};
    if (ref_ptr<vmspace> vm = process_vmspace(p))
        held = vm->get_sizes();
    constexpr ull kib = page_size / 1024;
    printk("out of memory: killed process %d (%s), %s; it had %llu kB resident and %llu kB mapped, "
           "%llu kB are free",
           p.pid, name, why, held.resident_pages * kib, held.virtual_pages * kib,
           vm_page_get_statistics().free * kib);
}

// Kills the process that holds most, with those that share its memory. False if there is none; true
// without killing while one that is dying still has its memory.
bool kill_another(process& self) {
    ref_ptr<process> worst;
    int64_t most = 0;
    for (ref_ptr<process> p = process_next(1); p; p = process_next(p->pid + 1)) {
        if (p.get() == &self || is_protected(*p))
            continue;
        bool dying;
        {
            lock_guard guard(process_tree_lock);
            dying = p->exiting && p->state != process_state::zombie;
        }
        if (dying)
            return true;
        int64_t score = badness(*p);
        if (score > most) {
            most = score;
            worst = p;
        }
    }
    if (!worst)
        return false;
    char name[sizeof worst->last_name];
    {
        lock_guard guard(process_tree_lock);
        thread* first = worst->threads.front();
        std::copy_n(first ? first->name : worst->last_name, sizeof name, name);
    }
    log_killing(*worst, name, "which holds most, for one that must live");
    ref_ptr<vmspace> vm = process_vmspace(*worst);
    for (ref_ptr<process> p = process_next(1); p; p = process_next(p->pid + 1))
        if (vm && process_vmspace(*p) == vm && !is_protected(*p))
            signal_send_process(*p, SIGKILL_, nullptr);
    return true;
}

void wait_a_little() {
    spin_lock lock(lock_rank::wait, "out of memory");
    wait_queue nobody;
    lock_guard guard(lock);
    (void)nobody.wait_interruptible(lock, "out of memory", now() + retry_after);
}

} // namespace

bool out_of_memory(thread& self, vaddr_t address, bool user_mode) {
    if (signal_kill_pending(self))
        return false; // by another thread of the process, or for another reason
    process& p = *self.proc;
    if (is_protected(p)) {
        for (unsigned i = 0; user_mode || i < most_retries; i++) {
            if (!kill_another(p))
                break;
            wait_a_little();
            if (vm_page_get_statistics().free != 0)
                return true;
        }
        if (!user_mode)
            return false;
    }
    char why[64];
    format_to(why, sizeof why, "which needs a page for %#llx", ull(address.value()));
    log_killing(p, self.name, why);
    signal_force(self, SIGKILL_, SI_KERNEL_, 0);
    return false;
}

unsigned oom_score(process& p) {
    const auto total = int64_t(vm_page_get_statistics().total);
    const int64_t points = badness(p);
    if (points == 0)
        return 0;
    return unsigned(
        std::max<int64_t>(0, (oom_score_adj_max + points * oom_score_adj_max / total) * 2 / 3));
}

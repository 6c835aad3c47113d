// Out of memory. Spork promises more than it has in modes 0 and 1, so a page fault may find no page,
// and the page daemon none to put out: there is no swap, or it is full. Then a process is killed, as
// on Linux: not the one that happens to fault, but one of the user whose processes hold most, and of
// these the one that holds most itself. So a user who fills memory by many small processes loses
// those, and not the shell of another.
//
//      who faults                     the search, a thread of the kernel's
//      ----------                     ------------------------------------
//      has been killed: gives up
//      waits while one is dying  <--  a process that ends has still its memory: for a while
//      is killed                 <--  it is the one that holds most
//      tries again               <--  another was killed, or there is memory
//
// Who faults in the kernel has locks. The search holds references to what it looks at, and one of
// them may turn out to be the last, whose end takes locks, too: so another thread has them.
//
// What a process holds is what would come free with it, in the kernel too: page tables, map
// entries, amaps, threads' stacks, descriptors, the pages of pipes, the ledger, zombies that it has
// not waited for, what calls under way have copied in. The search waits for maps, which their
// threads could else keep from it: who holds one never waits for memory here.
//
// A system call that runs out of kernel memory gets ENOMEM and nobody is killed for it, unless it
// is the superuser's: what he starts to put things right needs memory too.
#include "kernel/lifecycle/oom.h"

#include "arch/pmap.h"
#include "arch/thread.h"
#include "arch/timer.h"
#include "kernel/base/panic.h"
#include "kernel/base/printk.h"
#include "kernel/files/file.h"
#include "kernel/files/vnode.h"
#include "kernel/process/process.h"
#include "kernel/sched/kernel_thread.h"
#include "kernel/signal/signal.h"
#include "lib/string.h"
#include "vm/phys/alloc_fail.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_pdaemon.h"
#include "vm/vmspace.h"

#include <algorithm>
#include <iterator>

using namespace linux_abi;

namespace {

using ull = unsigned long long;

constexpr nanos_t retry_after = 1'000'000;
constexpr unsigned most_retries = 1000;     // of an access in the kernel, which may hold locks
constexpr nanos_t patience = 2'000'000'000; // with a process that has been told to end
constexpr uint64_t few_pages = 64;          // a call may want so many at once

bool is_protected(const process& p) {
    return &p == init_process || p.oom_score_adj.load() == oom_score_adj_min;
}

// The thread of `p` behind `last`, which may have ended meanwhile; after null the first.
ref_ptr<thread> thread_after(process& p, thread* last) {
    lock_guard guard(process_tree_lock);
    if (last && last->in_process.linked())
        return ref_ptr<thread>(p.threads.next(*last));
    for (thread& t : p.threads) // they are in the order in which they were made
        if (!last || t.serial.value() > last->serial.value())
            return ref_ptr<thread>(&t);
    return nullptr;
}

// Of a table that `threads` of a process have, perhaps with threads of others.
uint64_t share_of(const ref_ptr<fd_table>& files, uint64_t threads) {
    if (!files)
        return 0;
    const uint64_t all = files->references() - 1; // this one is ours
    return files->footprint() * threads / std::max(threads, all);
}

// In bytes: its threads, and what they have open. Most have one table in common.
uint64_t threads_hold(process& p) {
    uint64_t bytes = 0, having = 0;
    ref_ptr<fd_table> files;
    for (ref_ptr<thread> t = thread_after(p, nullptr); t; t = thread_after(p, t.get())) {
        bytes += sizeof(thread) + machine_thread_bytes;
        ref_ptr<fd_table> own;
        {
            lock_guard guard(t->lock);
            own = t->files;
        }
        if (own != files) {
            bytes += share_of(files, having);
            having = 0;
            files = std::move(own);
        }
        having++;
    }
    return bytes + share_of(files, having);
}

uint64_t executable_holds(process& p) {
    ref_ptr<vnode> node;
    {
        lock_guard guard(p.lock);
        node = p.executable;
    }
    return node ? node->held() : 0;
}

// Pages that would come free with a process, about.
uint64_t held_by(process& p) {
    uint64_t bytes = process_bytes + p.call_bytes.load() + p.costs.footprint() +
                     p.zombie_bytes.load() + threads_hold(p) + executable_holds(p);
    if (auto groups = process_credentials(p).supplementary) // two are a process's, this one ours
        bytes += groups->footprint() / std::max(1u, (groups->references() - 1) / 2);
    uint64_t pages = bytes / page_size;
    if (ref_ptr<vmspace> vm = process_vmspace(p))
        pages += vm->footprint();
    return pages;
}

// Linux's measure: what it holds, and a thousandth of memory per point. 0: never chosen.
int64_t badness(process& p) {
    if (is_protected(p))
        return 0;
    if (!process_vmspace(p))
        return 0;
    const auto total = int64_t(vm_page_total());
    return std::max<int64_t>(1, int64_t(held_by(p)) +
                                    p.oom_score_adj.load() * total / oom_score_adj_max);
}

void log_killing(process& p, const char* name) {
    vmspace::sizes held{};
    if (ref_ptr<vmspace> vm = process_vmspace(p))
        held = vm->get_sizes();
    constexpr ull kib = page_size / 1024;
    printk("out of memory: killed process %d (%s), which holds most; it had %llu kB resident, %llu "
           "kB mapped and %llu kB in all, %llu kB are free",
           p.pid, name, held.resident_pages * kib, held.virtual_pages * kib, held_by(p) * kib,
           vm_page_get_statistics().free * kib);
}

// Of the running thread's process, by a thread that may hold any lock.
void log_own_end(thread& self, vaddr_t address) {
    constexpr ull kib = page_size / 1024;
    printk("out of memory: killed process %d (%s), which needs a page for %#llx; it had %llu kB "
           "resident, %llu kB are free",
           self.proc->pid, self.name, ull(address.value()),
           self.vm ? self.vm->physical_map().resident_pages() * kib : 0,
           vm_page_get_statistics().free * kib);
}

constinit std::atomic<nanos_t> last_killing{0};

// Whether `p` is ending, or has been told to, which gives its memory back by and by, and not for too
// long already: it may wait for a lock that whoever wants memory holds. The zombies of one that was
// killed are init's to wait for.
bool worth_waiting_for(process& p) {
    if (&p == init_process)
        return p.zombie_bytes.load() >= few_pages * page_size &&
               now() - last_killing.load() < patience;
    uint64_t threads;
    {
        lock_guard guard(process_tree_lock);
        signal_guard signals(*p.handlers);
        const bool told = p.signals.pending.set & sig_bit(sigkill); // and has not heard it yet
        const bool ends = told || (p.signals.exiting && !p.signals.survivor);
        if (!ends || p.state == process_state::zombie)
            return false;
        threads = p.threads.size();
    }
    if (p.dying.threads != threads) // the first time, or it gets on
        p.dying = {.since = now(), .threads = threads};
    return now() - p.dying.since < patience;
}

struct search_result {
    bool wait = false;       // one is dying
    ref_ptr<process> victim; // null: nobody may be killed
};

// The searching thread's, as is process::dying. Users beyond the table's room count with the one
// whose place they find.
struct user_total {
    uint32_t uid = 0;
    int64_t held = 0, most = 0;
    pid_t worst = 0; // holds `most`
};
user_total totals[128];

user_total& total_of(uint32_t uid) {
    for (size_t i = 0; i < std::size(totals); i++) {
        user_total& t = totals[(uid + i) % std::size(totals)];
        if (t.held == 0)
            t.uid = uid;
        if (t.uid == uid)
            return t;
    }
    return totals[uid % std::size(totals)];
}

search_result search() {
    search_result result;
    user_total* worst = nullptr;
    std::fill(std::begin(totals), std::end(totals), user_total{});
    for (ref_ptr<process> p = process_next(1); p && !result.wait; p = process_next(p->pid + 1)) {
        if (worth_waiting_for(*p))
            result.wait = true;
        if (p->dying.threads != 0)
            continue; // if it can end, it will
        const int64_t score = badness(*p);
        if (score == 0)
            continue;
        user_total& of = total_of(process_uid(*p));
        of.held += score;
        if (score > of.most) {
            of.most = score;
            of.worst = p->pid;
        }
        if (!worst || of.held > worst->held)
            worst = &of;
    }
    if (!result.wait && worst)
        result.victim = process_find(worst->worst);
    result.wait |= worst && !result.victim; // it has gone by itself
    return result;
}

// Whether the last killing has brought pages since some could not be had.
bool has_had_effect() {
    return uvm_pdaemon::spare_pages() >= few_pages && now() - last_killing.load() < patience;
}

// With those that share its memory.
void kill(process& victim) {
    char name[sizeof victim.last_name];
    {
        lock_guard guard(process_tree_lock);
        thread* first = victim.threads.front();
        std::copy_n(first ? first->name : victim.last_name, sizeof name, name);
    }
    log_killing(victim, name);
    last_killing.store(now());
    ref_ptr<vmspace> vm = process_vmspace(victim);
    for (ref_ptr<process> p = process_next(1); p; p = process_next(p->pid + 1))
        if (vm && process_vmspace(*p) == vm && !is_protected(*p))
            signal_send_process(*p, sigkill, nullptr);
}

// What a search has come to for who has asked for it. `others`: one is dying, or has been killed.
enum class verdict : uint8_t { others, own, nobody };

// The question that the searching thread has, if any, and its last answer.
struct {
    spin_lock lock{lock_rank::wait, "memory search"};
    wait_queue asked GUARDED_BY(lock), answered GUARDED_BY(lock);
    bool busy GUARDED_BY(lock) = false;
    uint64_t number GUARDED_BY(lock) = 0; // of the question
    uint64_t asker GUARDED_BY(lock) = 0;  // process::serial
    uint64_t answer_to GUARDED_BY(lock) = 0;
    verdict answer GUARDED_BY(lock){};
} question;

verdict search_for(uint64_t asker) {
    const search_result found = search();
    if (has_had_effect()) // one that was dying has gone while it was looked at
        return verdict::others;
    if (found.victim && found.victim->serial.value() == asker)
        return verdict::own;
    if (found.victim)
        kill(*found.victim);
    return found.wait || found.victim ? verdict::others : verdict::nobody;
}

} // namespace

void out_of_memory_search(void*) {
    copy_string(current_thread().name, sizeof(thread::name), "memory search");
    for (;;) {
        uint64_t asker;
        {
            lock_guard guard(question.lock);
            while (!question.busy)
                question.asked.wait(question.lock, "memory search");
            asker = question.asker;
        }
        const verdict answer = search_for(asker);
        lock_guard guard(question.lock);
        question.busy = false;
        question.answer_to = question.number;
        question.answer = answer;
        question.answered.wake_all();
    }
}

namespace {

// What others have asked is answered for them alone: who waited has the same right to wait on. Nor
// is an answer waited for without end, since the search may want a lock that the asker holds.
verdict ask_for(process& p) {
    lock_guard guard(question.lock);
    if (question.busy)
        return verdict::others;
    question.busy = true;
    question.asker = p.serial.value();
    const uint64_t mine = ++question.number;
    question.asked.wake_all();
    const nanos_t until = now() + patience;
    while (question.answer_to < mine)
        if (!question.answered.wait_killable(question.lock, "out of memory", until))
            return verdict::others;
    return question.answer_to == mine ? question.answer : verdict::others;
}

void wait_a_little() {
    spin_lock lock(lock_rank::wait, "out of memory");
    wait_queue nobody;
    lock_guard guard(lock);
    (void)nobody.wait_killable(lock, "out of memory", now() + retry_after);
}

} // namespace

bool out_of_memory(thread& self, vaddr_t address, bool user_mode) {
    process& p = *self.proc;
    // One that a test has made fail is answered by the end of the process that tests.
    const bool real = !alloc_fail_struck();
    for (unsigned i = 0; real && (user_mode || i < most_retries); i++) {
        if (signal_kill_pending(self))
            return false; // chosen before, or for another reason
        if (has_had_effect()) {
            wait_a_little();
            return true;
        }
        if (ask_for(p) != verdict::others)
            break;
        wait_a_little();
        if (uvm_pdaemon::spare_pages() != 0)
            return true;
    }
    if (is_protected(p) && !user_mode)
        return false;
    log_own_end(self, address);
    signal_force(self, sigkill, si_kernel, 0);
    return false;
}

bool out_of_memory_in_call(thread& self) {
    if (signal_kill_pending(self))
        return false;
    if (uvm_pdaemon::is_short() && uvm_pdaemon::wait_for_memory())
        return true;
    if (vm_page_count_free() >= few_pages || !current_credentials().superuser())
        return false;
    if (ask_for(*self.proc) != verdict::others)
        return false;
    wait_a_little();
    return true;
}

unsigned oom_score(process& p) {
    const auto total = int64_t(vm_page_total());
    const int64_t points = badness(p);
    if (points == 0)
        return 0;
    return unsigned(
        std::max<int64_t>(0, (oom_score_adj_max + points * oom_score_adj_max / total) * 2 / 3));
}

// TLB shootdown: making every CPU forget translations that have been taken back.
//
// Each CPU may keep copies of page-table entries in its TLB, and of the upper levels in its
// paging-structure caches (Intel SDM vol. 3, 4.10). Nothing in hardware takes them away when the
// tables change: the CPU that changes them has to ask each other one. The idea and the name are
// Black et al., "Translation Lookaside Buffer Consistency: A Software Approach", ASPLOS 1989.
//
// Whom to ask. pmap_machine::loaded_on is the set of CPUs that have the pmap's table in CR3, or
// whose TLBs may still hold something from when they had. Idle threads and kernel threads keep
// the last user pmap loaded, so a CPU stays in the set until it loads another. Two orders
// make the set trustworthy:
//
//     activate (on CPU B)                 change (on CPU A)
//     1. new.loaded_on |= B               1. change the table
//     2. load CR3, which empties the TLB  2. read loaded_on
//     3. old.loaded_on &= ~B
//
//  * Between 1 and 2 on both sides there is a full barrier. If A does not see B in the set, then
//    A's read came before B's write, so A's change came before B's first walk of the
//    table: B can only load the new entry. If A does see it, B is asked.
//  * B leaves the old pmap's set only after its TLB holds nothing of it: had 3 come before 2,
//    A could skip B while B still used the old translation, through which it would reach a page
//    that A goes on to free. That is the lost shootdown that this order prevents.
//
// How to ask. Each CPU owns one request, for it waits for the answers before it makes another.
// It fills it in, stores the set of those who have yet to answer in `pending`, sets its own bit in
// each target's `asked_by`, and interrupts those targets whose asked_by was empty (in the others
// an interrupt is under way already, or poll() is about to look). A target takes all bits of
// asked_by at once, does what each request says, and clears its bit in the request's `pending`,
// after which it never looks at that request again. The initiator returns when `pending` is
// empty; what was on its stack or in the table pages may then be reused.
//
// Why it cannot dead-lock. The initiator waits with interrupts off, and so may its targets,
// for a spin lock that the initiator holds, or for their own requests. Every loop that waits
// with interrupts off calls cpu::relax(), which calls poll(): so each CPU that waits for another
// answers, and a CPU that does not wait goes on until it turns interrupts on and takes the
// interrupt, as one does at once that waits with them on. poll() itself takes no lock and waits for
// nothing. A CPU that is told to stop by a
// panic answers no more, but then so does the machine.
//
// A barrier (membarrier(2)) is a request with nothing to forget. The set tells of whom to ask, as
// above: a CPU that is not in it has passed 3 of activate, or will pass 1 and 2, and each of them
// is a barrier and serializes.
//
// Adding rights needs none of this: an old entry with fewer rights, or none, costs a fault that
// finds the right entry in place. Translations whose accessed bit is still clear are in no
// TLB (SDM 4.10.2.3 together with 4.8), so removing those asks nobody either.
#include <machine/tlb.h>

#include "arch/memory.h"
#include "arch/pmap.h"
#include "lib/assert.h"
#include "vm/phys/event.h"
#include "vm/phys/uvmexp.h"

#include "pmap_tables.h"

#include <machine/apic.h>
#include <machine/instructions.h>
#include <machine/percpu.h>

#include <bit>

namespace {

struct request {
    pmap_machine* pmap = nullptr;
    const tlb::batch* flush = nullptr; // null: unload the pmap; empty: pass a barrier
    std::atomic<uint32_t> pending{0};  // CPUs that have yet to answer
};

struct alignas(64) mailbox {
    std::atomic<uint32_t> asked_by{0}; // CPUs whose request this one has yet to serve
    request mine;                      // written by this CPU while its pending is empty
};

constinit mailbox mailboxes[max_cpus];
constinit std::atomic<uint32_t> joined{0};

constexpr uint32_t bit(unsigned cpu) { return uint32_t{1} << cpu; }

void load_table(const pmap_machine& m) { write_cr3(direct_map_address(m.root).value()); }

// Everything, global translations included, by turning them off and on (SDM vol. 3, 4.10.4.1).
void flush_all_here() {
    constexpr uint64_t page_global_enable = 1 << 7;
    const uint64_t cr4 = read_cr4();
    if (cr4 & page_global_enable) {
        write_cr4(cr4 & ~page_global_enable);
        write_cr4(cr4);
    } else { // there are no global translations
        write_cr3(read_cr3());
    }
}

void flush_here(const pmap_machine& m, const tlb::batch& b) {
    if (b.empty())
        serialize(); // whoever asks has done the rest by asking
    else if (!b.everything())
        for (uint64_t va : b)
            tlb::invalidate_here(va);
    else if (m.is_kernel)
        flush_all_here();
    else
        load_table(m);
}

// Loads another table on the calling CPU, in the order that is explained above.
void switch_table(cpu_data& c, pmap_machine& next) {
    pmap_machine* previous = c.loaded_pmap;
    if (!next.is_kernel)
        next.loaded_on.fetch_or(bit(c.id), std::memory_order_seq_cst);
    load_table(next);
    c.loaded_pmap = &next;
    if (previous && !previous->is_kernel)
        previous->loaded_on.fetch_and(~bit(c.id), std::memory_order_release);
}

void serve(cpu_data& c, const request& r) {
    if (!r.flush) {
        if (c.loaded_pmap == r.pmap)
            switch_table(c, pmap_kernel_machine());
    } else if (r.pmap->is_kernel || c.loaded_pmap == r.pmap) {
        flush_here(*r.pmap, *r.flush);
    }
}

// Has `targets` serve a request of the calling CPU. Interrupts off.
void ask(unsigned self, uint32_t targets, pmap_machine& m, const tlb::batch* flush) {
    request& r = mailboxes[self].mine;
    ASSERT(r.pending.load(std::memory_order_relaxed) == 0);
    r.pmap = &m;
    r.flush = flush;
    r.pending.store(targets, std::memory_order_relaxed);
    for (uint32_t rest = targets; rest != 0; rest &= rest - 1) {
        auto target = static_cast<unsigned>(std::countr_zero(rest));
        // Publishes the request, too.
        if (mailboxes[target].asked_by.fetch_or(bit(self), std::memory_order_acq_rel) == 0)
            lapic_send_ipi(target, vector_tlb_shootdown);
    }
    while (r.pending.load(std::memory_order_acquire) != 0)
        cpu::relax(); // answers others, who may be waiting for us
}

// Who may have translations of `m`, seen after what the caller has changed. Interrupts off.
uint32_t who_has(const pmap_machine& m) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return m.is_kernel ? joined.load(std::memory_order_seq_cst) | bit(cpu::id())
                       : m.loaded_on.load(std::memory_order_seq_cst);
}

class no_interrupts {
public:
    no_interrupts() { cpu::interrupts_push_off(); }
    ~no_interrupts() { cpu::interrupts_pop_off(); }
    no_interrupts(const no_interrupts&) = delete;
};

} // namespace

void tlb::poll() {
    mailbox& own = mailboxes[cpu::id()];
    if (own.asked_by.load(std::memory_order_relaxed) == 0) [[likely]]
        return;
    cpu_data& c = *this_cpu();
    uint32_t askers = own.asked_by.exchange(0, std::memory_order_acq_rel);
    for (; askers != 0; askers &= askers - 1) {
        request& r = mailboxes[std::countr_zero(askers)].mine;
        serve(c, r);
        r.pending.fetch_and(~bit(c.id), std::memory_order_release);
    }
}

void tlb::interrupt() {
    uvm_count(uvm_counter::shootdown_interrupts);
    poll();
}

void tlb::flush(pmap_machine& m, const batch& b) {
    if (b.empty())
        return;
    no_interrupts guard; // they are on with the pmap's lock; the CPU's one request is for one user
    const unsigned self = cpu::id();
    const uint32_t where = who_has(m);
    if (where & bit(self)) {
        flush_here(m, b);
        EVENT(tlb_flushed, .root = m.root, .pages = b.pages());
    }
    if (uint32_t others = where & ~bit(self)) {
        ask(self, others, m, &b);
        EVENT(tlb_shootdown, .root = m.root, .processors = others, .pages = b.pages());
    }
}

void tlb::barrier(pmap_machine& m) {
    no_interrupts guard;
    const unsigned self = cpu::id();
    batch nothing;
    if (uint32_t others = who_has(m) & ~bit(self))
        ask(self, others, m, &nothing);
    serialize();
}

void tlb::unload(pmap_machine& m) {
    no_interrupts guard;
    cpu_data& c = *this_cpu();
    if (c.loaded_pmap == &m)
        switch_table(c, pmap_kernel_machine());
    if (uint32_t others = m.loaded_on.load(std::memory_order_seq_cst)) {
        ask(c.id, others, m, nullptr);
        EVENT(tlb_shootdown, .root = m.root, .processors = others, .pages = 0);
    }
    ASSERT(m.loaded_on.load(std::memory_order_acquire) == 0);
}

void tlb::activate(pmap_machine& m) {
    cpu_data& c = *this_cpu();
    if (c.loaded_pmap != &m)
        switch_table(c, m);
}

bool tlb::loaded_here(const pmap_machine& m) { return this_cpu()->loaded_pmap == &m; }

void tlb::refresh_here(const pmap_machine& m) {
    no_interrupts guard;
    if (loaded_here(m))
        load_table(m);
}

bool tlb::loaded_elsewhere(const pmap_machine& m) {
    return (m.loaded_on.load(std::memory_order_seq_cst) & ~bit(this_cpu()->id)) != 0;
}

void tlb::join() {
    no_interrupts guard;
    joined.fetch_or(bit(cpu::id()), std::memory_order_seq_cst);
    // What it may have loaded before it could be asked.
    flush_all_here();
}

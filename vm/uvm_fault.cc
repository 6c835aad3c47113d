// Page faults (uvm_fault(9); Cranor 1998, ch. 5).
//
// A fault looks through the two layers of the entry that the address lies in, the amap above the
// object, and takes what it finds first:
//
//                 case 1A        case 1B            case 2A        case 2B
//               read, or own  write, others      read, or a    write to a private
//               page written   have it too     shared mapping       mapping
//
//     amap        [anon]       [anon]->[new]         -          -----> [new]
//                    |            copy ^             |          |  copy, or zeros
//     object         |                 |          [page]     [page]  or nothing
//                    v                 v             v
//     pmap        mapped            mapped        mapped          mapped
//
// In 1A an anon that has other references is mapped read-only, in 2A so is the object's page of a
// private mapping: the first write comes back as 1B or 2B. A write into an entry that needs_copy
// first has its amap copied, or just claimed when the other side of the fork is gone. What no
// layer has reads as zeros: one page of them serves all readers.
//
// The steps:
//   1. The map, for reading: the entry, and whether it allows the access (else SIGSEGV). What needs
//      the map for writing is done by itself, and the fault begins again.
//   2. A write into needs_copy: the amap is copied or claimed first.
//   3. The amap's slot: an anon is case 1A or 1B.
//   4. Else the object's page, 2A or 2B; else zeros.
//   5. pmap::enter, with the owner's lock still held; the charge of a page that is new is the
//      entry's already. No memory: everything is given back, and the process waits or dies.
//   6. Neighbours that are resident are mapped too (fault-ahead), as far as the entry's advice says.
//
// Locks. The map is locked for reading throughout: no entry changes, nothing is unmapped. The
// amap's lock is held while an anon is looked up, copied and entered in the pmap, the object's
// likewise: so what is entered is still there, and two threads that fault at one address come one
// after the other; the second finds the mapping and has nothing to do. What needs the map locked
// for writing (a new amap, a stack that grows) is done by itself, and everything looked up again.
#include "arch/pmap.h"
#include "lib/long_work.h"
#include "vm/phys/event.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_commit.h"
#include "vm/uvm_pager.h"
#include "vm/uvm_pdaemon.h"
#include "vm/vmspace.h"

using trace::fault_kind;

std::atomic<bool> uvm_fault_ahead_enabled{true};
std::atomic<bool> uvm_rights_ahead_enabled{true};
std::atomic<bool> uvm_zero_page_enabled{true};

// The outcome, or nothing: something has to be had first, and the fault starts again.
using fault_result = std::optional<fault_outcome>;

struct uvm_faultinfo {
    using fault_lacks = vmspace::fault_lacks;
    // A constructor, since GCC fills an aggregate with zeros first.
    uvm_faultinfo(vmspace& in, vaddr_t page, vm_prot right, bool forced, bool mapped,
                  vm_map_entry& around)
        : vm(in), va(page), access(right), force(forced), maybe_mapped(mapped), entry(around) {}
    vmspace& vm;
    const vaddr_t va; // page aligned
    const vm_prot access;
    const bool force;
    const bool maybe_mapped;
    vm_map_entry& entry;
    std::optional<pmap_mapping> mapping{}; // what was there until something was entered
    fault_lacks lacks = fault_lacks::amap; // if there is no outcome

    // Whether it is a write that only lacks the right to a page that is mapped.
    bool lacks_right(const vm_page& page) const {
        return write() && mapping && mapping->pa == page.physical();
    }
    // Whether the page was mapped with the right already: another thread was faster.
    bool in_place(const vm_page& page) const {
        return mapping && mapping->pa == page.physical() && allows(mapping->prot, access) &&
               mapping->wired == (entry.wired_count > 0);
    }
    bool write() const { return access == vm_prot::write; }
    slot_t slot() const { return entry.slot_of(va); }
    bool allowed() const;

    fault_result resolve() REQUIRES_SHARED(vm.map_.lock());
    fault_outcome upper(vm_amap& amap, vm_anon& anon, vm_page& page) REQUIRES_SHARED(vm.map_.lock())
        REQUIRES(amap.lock());
    fault_outcome map_anon(vm_amap& amap, vm_anon& anon, vm_page& page)
        REQUIRES_SHARED(vm.map_.lock()) REQUIRES(amap.lock());
    fault_outcome copy_anon(vm_amap& amap, vm_anon& anon, vm_page& page)
        REQUIRES_SHARED(vm.map_.lock()) REQUIRES(amap.lock());
    // The amap may be missing in these; if there is one, it is locked. Inline: of a fault's 600 instructions a
    // call's saving of registers is 20.
    [[gnu::always_inline]] fault_result lower(vm_amap* amap) REQUIRES_SHARED(vm.map_.lock());
    fault_result lower_object(vm_amap* amap, uvm_object& object) REQUIRES_SHARED(vm.map_.lock());
    [[gnu::always_inline]] fault_result lower_zero(vm_amap* amap) REQUIRES_SHARED(vm.map_.lock());
    vm_page* zeros_for_reader(vm_amap* amap) const;
    fault_outcome promote(vm_amap& amap, vm_page* contents) REQUIRES_SHARED(vm.map_.lock());

    fault_outcome enter(vm_page& page, vm_prot prot) REQUIRES_SHARED(vm.map_.lock());
    [[gnu::noinline]] void unprotect_table() REQUIRES_SHARED(vm.map_.lock());
    void tell(fault_kind kind, const vm_page& mapped, const vm_page& found) const;
    void tell(fault_kind kind, const vm_page& mapped) const { tell(kind, mapped, mapped); }
    vm_prot anon_protection(const vm_anon& anon) const;

    struct window {
        vaddr_t first, end;
    };
    window neighbours() const;
    bool has_anon(vm_amap& amap, vaddr_t at) const;
    void ahead_anons(vm_amap& amap) REQUIRES(amap.lock());
    void ahead_object(vm_amap* amap, uvm_object& object) REQUIRES(object.lock());
};

// Which case it was. Where a fork is the reason for the fault, that fork hears of it too
// (vm_aftermath.h says when). `found`: the page that was mapped, or copied.
[[gnu::always_inline]] inline void uvm_faultinfo::tell(fault_kind kind, const vm_page& mapped,
                                                       const vm_page& found) const {
    if (in_place(mapped)) [[unlikely]] {
        EVENT(fault_case, .va = va, .kind = fault_kind::spurious, .page = mapped.physical());
        return;
    }
    EVENT(fault_case, .va = va, .kind = kind, .page = mapped.physical());
    const bool by_fork =
        kind == fault_kind::case_1b ||
        (mapping ? kind != fault_kind::case_2a && lacks_right(found) : entry.last_fork.child());
    if (by_fork)
        entry.last_fork.count(kind, write());
}

// The page of zeros. Made once, never freed; null while there is no memory for it.
vm_page* uvm_zero_page() {
    static constinit std::atomic<vm_page*> zeros{nullptr};
    vm_page* page = zeros.load(std::memory_order_acquire);
    if (page)
        return page;
    owned_page fresh(vm_page_alloc(page_owner::kernel, true));
    if (!fresh)
        return nullptr;
    fresh->index = vm_page::unlisted;
    if (zeros.compare_exchange_strong(page, fresh.get(), std::memory_order_acq_rel))
        return fresh.release();
    return page; // another CPU was first
}

// ---- The way in ------------------------------------------------------------------------------

fault_outcome vmspace::fault_in(vaddr_t page, vm_prot access, bool force) {
    return fault_page(page, access, force, true);
}

fault_outcome vmspace::fault(vaddr_t address, vm_prot access, bool maybe_mapped) {
    EVENT(fault_begin, .va = address, .access = trace::protection(access));
    fault_outcome outcome = fault_page(address.page_down(), access, false, maybe_mapped);
    check_fault_seam(address.page_down());
    EVENT(fault_end, .va = address, .result = trace::fault_result(outcome));
    return outcome;
}

inline fault_outcome vmspace::fault_page(vaddr_t page, vm_prot access, bool force,
                                         bool maybe_mapped) {
    for (fault_patience so_far;;) {
        fault_lacks lacks = fault_lacks::entry;
        {
            read_guard guard(map_.lock());
            if (vm_map_entry* entry = map_.lookup(page)) {
                uvm_faultinfo ufi(*this, page, access, force, maybe_mapped, *entry);
                if (!ufi.allowed())
                    return fault_outcome::accerr;
                ufi.vm.map_.lock().assert_held_shared(); // the guard's, by another name
                const fault_result result = ufi.resolve();
                if (result && *result != fault_outcome::nomem)
                    return *result;
                lacks = result ? fault_lacks::memory : ufi.lacks;
            }
        }
        const fault_outcome outcome = provide(page, access, lacks, so_far);
        if (outcome != fault_outcome::resolved)
            return outcome;
    }
}

// What has to be had before a fault is tried again. No lock is held.
fault_outcome vmspace::provide(vaddr_t page, vm_prot access, fault_lacks lacks,
                               fault_patience& so_far) {
    constexpr unsigned most_waits = 1000; // for what is short though pages are free
    fault_outcome outcome = fault_outcome::nomem;
    switch (lacks) {
    case fault_lacks::entry: outcome = grow_stack(page); break;
    case fault_lacks::page: outcome = bring_in(page, access); break;
    case fault_lacks::amap:
        if (resolve_needs_copy(page))
            outcome = fault_outcome::resolved;
        else
            so_far.copies_failed++;
        break;
    case fault_lacks::memory: break;
    }
    if (outcome != fault_outcome::nomem || so_far.waits == most_waits)
        return outcome;
    // Who is to die waits once: his end may want a page, too.
    if (so_far.waits++ != 0 && !long_work::go_on())
        return outcome;
    return uvm_pdaemon::wait_for_memory(so_far.copies_failed) ? fault_outcome::resolved : outcome;
}

// The page at `page`, which a fault has found to be out, comes to memory; without locks meanwhile.
// By now it may have come, or gone: the fault that is tried again sees to it.
fault_outcome vmspace::bring_in(vaddr_t page, vm_prot access) {
    page_in later;
    status there;
    {
        read_guard guard(map_.lock());
        if (vm_map_entry* entry = map_.lookup(page))
            there = entry->bring_in(page, access == vm_prot::write, later);
    }
    if (auto borrowing = vm_borrowing_of_caller(*this))
        later.lay_to({std::move(borrowing), vm_aftermath::side::child});
    if (const status came = page_in_finish(later); !came)
        return came.error() == Errno::nomem ? fault_outcome::nomem : fault_outcome::io_error;
    return there || there.error() == Errno::again ? fault_outcome::resolved : fault_outcome::nomem;
}

// As Linux: what can be written or executed can be read. A forced store only goes where it stays
// private.
bool uvm_faultinfo::allowed() const {
    if (force)
        return !write() || allows(entry.effective_protection(), access) || entry.copy_on_write;
    return allows(entry.effective_protection(), access);
}

// The entry may be another one by now, or gone: then there is nothing to do, and the fault that
// is tried again sees to it.
status vmspace::resolve_needs_copy(vaddr_t page) {
    lock_guard guard(map_.lock());
    vm_map_entry* entry = map_.lookup(page);
    if (!entry || !entry->needs_copy)
        return {};
    return entry->copy_for_write();
}

// A fault where nothing is mapped: a stack above may grow down to it, within RLIMIT_STACK and
// clear of what is mapped below, but to no address that mmap would refuse.
fault_outcome vmspace::grow_stack(vaddr_t page) {
    lock_guard guard(map_.lock());
    vm_map_entry* stack = map_.lookup_or_next(page);
    if (!stack || page < mmap_min_addr)
        return fault_outcome::maperr;
    if (stack->contains(page)) // another thread was here
        return fault_outcome::resolved;
    if (!stack->grows_down || stack->end - page > vm_limit_of_caller(vm_limit::stack))
        return fault_outcome::maperr;
    vm_map_entry* below = map_.prev(*stack);
    if (below && !below->grows_down && below->protection != vm_prot::none &&
        page - below->end < stack_guard_gap)
        return fault_outcome::maperr;
    // Linux's answer to a stack that may not grow is the same signal as to one that cannot.
    if (!grow_locked(*stack, page, stack->start))
        return fault_outcome::maperr;
    return fault_outcome::resolved;
}

fault_result uvm_faultinfo::resolve() {
    if (write() && entry.needs_copy)
        return std::nullopt;
    vm_amap* amap = entry.aref.amap();
    if (!amap)
        return lower(nullptr);
    lock_guard guard(amap->lock());
    vm_anon* anon = amap->lookup(slot());
    if (!anon)
        return lower(amap);
    if (vm_page* page = anon->page())
        return upper(*amap, *anon, *page);
    lacks = fault_lacks::page;
    return std::nullopt;
}

// ---- Case 1: the upper layer has the page ----------------------------------------------------

fault_outcome uvm_faultinfo::upper(vm_amap& amap, vm_anon& anon, vm_page& page) {
    if (write() && anon.references() > 1)
        return copy_anon(amap, anon, page);
    return map_anon(amap, anon, page);
}

// 1A. A page that may be written has no use for what swap has of it; a wired one does not go there.
fault_outcome uvm_faultinfo::map_anon(vm_amap& amap, vm_anon& anon, vm_page& page) {
    if (anon.slot() && (write() || entry.wired_count))
        anon.drop_slot();
    fault_outcome outcome = enter(page, anon_protection(anon));
    if (lacks_right(page))
        tell(fault_kind::takeover, page);
    else
        tell(fault_kind::case_1a, page);
    // Where a page was mapped with fewer rights, its neighbours have had their turn before.
    if (!mapping)
        ahead_anons(amap);
    return outcome;
}

// 1B.
fault_outcome uvm_faultinfo::copy_anon(vm_amap& amap, vm_anon& anon, vm_page& original) {
    auto copy = vm_anon::create_copy(amap.lock(), original);
    if (!copy)
        return fault_outcome::nomem;
    vm.check_copy(entry, va, anon, **copy);
    // Whoever writes to this amap too must see the copy from now on, not the page it was made of.
    if (amap.shared(slot(), slot() + 1))
        pmap::page_protect(original, vm_prot::none);
    // The mapping first: it may fail, and the old page then stays in its slot.
    vm_page& page = (*copy)->new_page();
    fault_outcome outcome = enter(page, entry.effective_protection());
    if (entry.wired_count)
        uvm_pdpolicy::wake(original);
    if (outcome == fault_outcome::resolved) {
        amap.replace(slot(), std::move(*copy));
        tell(fault_kind::case_1b, page, original);
    }
    return outcome;
}

// What an anon may be mapped with: writable only for one who is alone with it, swap included.
vm_prot uvm_faultinfo::anon_protection(const vm_anon& anon) const {
    vm_prot prot = entry.effective_protection();
    const bool alone = anon.references() == 1 && !entry.needs_copy && !anon.slot();
    return alone ? prot : prot & ~vm_prot::write;
}

// ---- Case 2: the lower layer -----------------------------------------------------------------

inline fault_result uvm_faultinfo::lower(vm_amap* amap) {
    if (entry.object)
        return lower_object(amap, *entry.object);
    return lower_zero(amap);
}

fault_result uvm_faultinfo::lower_object(vm_amap* amap, uvm_object& object) {
    lock_guard guard(object.lock());
    expected<vm_page*> page = object.get(entry.object_index(va), write() && !entry.copy_on_write);
    if (!page) {
        if (page.error() == Errno::again) {
            lacks = fault_lacks::page;
            return std::nullopt;
        }
        if (page.error() == Errno::nomem)
            return fault_outcome::nomem;
        return page.error() == Errno::fault ? fault_outcome::adrerr : fault_outcome::io_error;
    }
    // 2B.
    if (write() && entry.copy_on_write) {
        ASSERT(amap);
        return promote(*amap, *page);
    }
    // 2A.
    vm_prot prot = entry.effective_protection();
    fault_outcome outcome = enter(**page, write() ? prot : prot & ~vm_prot::write);
    if (write() && entry.handle && outcome == fault_outcome::resolved)
        entry.handle->stored();
    tell(fault_kind::case_2a, **page);
    ahead_object(amap, object);
    return outcome;
}

// The page of zeros, unless another process writes to the same amap and would not be seen then. A
// wired page is the mapping's own.
vm_page* uvm_faultinfo::zeros_for_reader(vm_amap* amap) const {
    if (amap) {
        amap->lock().assert_held();
        if (amap->shared_by_inheritance())
            return nullptr;
    }
    if (entry.wired_count || !uvm_zero_page_enabled.load(std::memory_order_relaxed))
        return nullptr;
    return uvm_zero_page();
}

// Nothing is there yet. Reading maps the page of zeros.
inline fault_result uvm_faultinfo::lower_zero(vm_amap* amap) {
    vm_page* zeros = write() ? nullptr : zeros_for_reader(amap);
    if (zeros) {
        fault_outcome outcome = enter(*zeros, entry.effective_protection() & ~vm_prot::write);
        tell(fault_kind::zero_page, *zeros);
        return outcome;
    }
    if (entry.needs_copy)
        return std::nullopt;
    ASSERT(amap); // a private entry without one needs_copy
    return promote(*amap, nullptr);
}

// A new anon in the amap: a copy of the object's page `contents`, or zeros.
fault_outcome uvm_faultinfo::promote(vm_amap& amap, vm_page* contents) {
    amap.lock().assert_held();
    auto anon = contents ? vm_anon::create_copy(amap.lock(), *contents)
                         : vm_anon::create_zeroed(amap.lock());
    if (!anon)
        return fault_outcome::nomem;
    vm_page& page = (*anon)->new_page();
    if (!amap.add(slot(), std::move(*anon)))
        return fault_outcome::nomem;
    // As in 1B: a process that shares this amap may have the object's page mapped in this slot.
    if (contents && amap.shared(slot(), slot() + 1))
        pmap::page_protect(*contents, vm_prot::none);
    fault_outcome outcome = enter(page, entry.effective_protection());
    if (contents && entry.wired_count)
        uvm_pdpolicy::wake(*contents);
    if (contents)
        tell(fault_kind::case_2b_copy, page);
    else
        tell(fault_kind::case_2b_zero, page);
    return outcome;
}

// ---- Entering --------------------------------------------------------------------------------

fault_outcome uvm_faultinfo::enter(vm_page& page, vm_prot prot) {
    // A forced access: the page is there now, and stays out of the program's reach.
    if (prot == vm_prot::none && !entry.wired_count)
        return fault_outcome::resolved;
    // A mapping that another thread has made since the processor saw none does no harm: what is
    // entered is the same page.
    std::optional<pmap_mapping>* before = maybe_mapped ? &mapping : nullptr;
    for (;; before = nullptr) {
        status entered = vm.pmap_->enter(
            va, page, prot, {.wired = entry.wired_count > 0, .access = access & prot}, before);
        if (entered)
            return fault_outcome::resolved;
        if (entered.error() != Errno::again)
            break;
        unprotect_table();
    }
    // An older page, which a copy has just replaced, may still be mapped here.
    vm.pmap_->remove(va, va + page_size);
    return fault_outcome::nomem;
}

// The page table around the fault has been write-protected as a whole, by a fork or mprotect. Of
// the entry's pages in it those may be written again that nobody else has a reference to by now;
// the rest come back as faults. What another entry has there comes back, too.
void uvm_faultinfo::unprotect_table() {
    constexpr uint64_t span = pmap_table_pages::span;
    // It has been taken for a mapping that may be written, which neither a fork nor mprotect forbids.
    ASSERT(!entry.needs_copy && allows(entry.effective_protection(), vm_prot::write));
    pmap_table_pages alone;
    vm_amap* amap = entry.aref.amap();
    if (amap && uvm_rights_ahead_enabled.load(std::memory_order_relaxed)) {
        amap->lock().assert_held();
        const vaddr_t table(va.value() & ~(span - 1));
        amap->each_anon(entry.slot_of(std::max(table, entry.start)),
                        entry.slot_of(std::min(table + span, entry.end)),
                        [&](slot_t slot, const vm_anon& anon) {
                            if (anon.references() == 1 && !anon.slot())
                                alone.set(entry.address_of(slot));
                        });
    }
    vm.pmap_->unprotect_table(va, alone);
}

// The pages of the entry around the fault that fault-ahead looks at (the numbers are NetBSD's
// and 4.4BSD-Lite's habit: a few on both sides, more where access is known to be sequential).
uvm_faultinfo::window uvm_faultinfo::neighbours() const {
    static constexpr struct {
        unsigned behind, ahead;
    } widths[] = {{3, 4}, {0, 0}, {8, 7}}; // by vm_advice
    const bool by_force_only = entry.effective_protection() == vm_prot::none;
    if (!uvm_fault_ahead_enabled.load(std::memory_order_relaxed) || by_force_only)
        return {va, va};
    auto width = widths[unsigned(entry.advice)];
    uint64_t behind = std::min<uint64_t>(width.behind * page_size, va - entry.start);
    uint64_t ahead = std::min<uint64_t>((width.ahead + 1) * page_size, entry.end - va);
    return {va - behind, va + ahead};
}

// A neighbour that cannot be entered, for want of memory, is left to its own fault.
void uvm_faultinfo::ahead_anons(vm_amap& amap) {
    window w = neighbours();
    uint32_t entered = 0;
    for (vaddr_t at = w.first; at < w.end; at += page_size) {
        vm_anon* anon = at == va ? nullptr : amap.lookup(entry.slot_of(at));
        vm_page* page = anon ? anon->page() : nullptr;
        if (!page)
            continue;
        pmap_enter_flags flags{.wired = entry.wired_count > 0, .if_absent = true};
        if (vm.pmap_->enter(at, *page, anon_protection(*anon), flags))
            entered++;
    }
    if (entered)
        EVENT(fault_ahead, .va = va, .pages = entered);
}

bool uvm_faultinfo::has_anon(vm_amap& amap, vaddr_t at) const {
    amap.lock().assert_held();
    return amap.lookup(entry.slot_of(at)) != nullptr;
}

// Read-only, as in 2A: the object is to hear of the first write to a shared page (get's `write`).
void uvm_faultinfo::ahead_object(vm_amap* amap, uvm_object& object) {
    window w = neighbours();
    uint32_t entered = 0;
    for (vaddr_t at = w.first; at < w.end; at += page_size) {
        if (at == va || (amap && has_anon(*amap, at)))
            continue;
        vm_page* page = object.lookup(entry.object_index(at));
        if (!page)
            continue;
        pmap_enter_flags flags{.wired = entry.wired_count > 0, .if_absent = true};
        if (vm.pmap_->enter(at, *page, entry.effective_protection() & ~vm_prot::write, flags))
            entered++;
    }
    if (entered)
        EVENT(fault_ahead, .va = va, .pages = entered);
}

// fork: how a child gets its address space (uvmspace_fork(9)).
//
// The parent's map is walked entry by entry. What the child gets for one is said by the entry's
// inheritance (minherit(2)), and for `copy` by the mode:
//
//                 parent's entry      child's entry
//
//   none          stays               -
//   zero          stays               untouched memory
//   share         stays      ------.  the same amap, or the same object: both see all stores
//                                   amap
//   copy, cow     needs_copy ------.  needs_copy: neither may write to the amap. The first write
//                                   amap         fault of either side makes it one of its own
//   copy, copy    stays       amap    an amap with a copy of each page, made now
//
// Copying on write costs by entries, whatever their size, and then by the parent's resident
// writable pages, which are write-protected. Mode cow_pte also gives the child the parent's page
// tables as they then are, which saves the child the faults of the pages that it only reads.
#include "arch/pmap.h"
#include "lib/long_work.h"
#include "lib/trace.h"
#include "vm/phys/uvmexp.h"
#include "vm/uvm_commit.h"
#include "vm/vmspace.h"

expected<ref_ptr<vmspace>> vmspace::fork(fork_mode mode, vm_aftermath* later) {
    expected<ref_ptr<vmspace>> child = fork_locked(mode, later);
    if (child)
        (*child)->check_seam();
    check_seam();
    return child;
}

expected<ref_ptr<vmspace>> vmspace::fork_locked(fork_mode mode, vm_aftermath* later) {
    ref_ptr<vmspace> child; // ends, if the fork fails, after both locks are released
    lock_guard guard(map_.lock());
    // First the promise: a child is not begun that could not be given all it may come to write.
    commit_reservation promise;
    TRY(promise.take(child_charge()));
    child = TRY(vmspace::create());
    TRY(child->inherit_map(*this, mode, later, promise));

    // Nothing can fail any more. Only now is the parent touched, but for what fork() says of memory
    // that is shared by inheritance.
    for (vm_map_entry* e = map_.first(); e; e = map_.next(*e)) {
        if (copy_is_deferred(*e, mode))
            write_protect_for_fork(*e, later);
        else if (copy_has_the_same_anons(*e, mode))
            e->fork = {ref_ptr<vm_aftermath>(later), vm_aftermath::side::parent};
        long_work::pause();
    }
    if (mode == fork_mode::cow_pte)
        child->seed_page_tables(*this);
    uvm_count(uvm_counter::forks);
    TRACE(vmspace_forked, .parent = this, .child = child.get(), .mode = trace::copy_mode(mode),
          .entries = map_.entry_count());
    return child;
}

// The child's side: fills this map, which is empty and known to nobody else.
status vmspace::inherit_map(vmspace& parent, fork_mode mode, vm_aftermath* later,
                            commit_reservation& promise) {
    map_.lock().lock_nested();
    status result;
    for (vm_map_entry* e = parent.map_.first(); e && result; e = parent.map_.next(*e)) {
        result = long_work::go_on();
        if (result)
            result = inherit_entry(parent, *e, mode, later);
    }
    // Whatever has been inherited is this map's to give back, also if the rest has failed.
    promise.hand_over(map_.totals().charged);
    brk_start_ = parent.brk_start_;
    brk_ = parent.brk_;
    mmap_top_ = parent.mmap_top_;
    image = parent.image;
    announced_barriers = parent.announced_barriers.load();
    map_.lock().unlock();
    return result;
}

// ---- One entry -------------------------------------------------------------------------------

static bool shared_by_inheritance(const vm_map_entry& e) {
    lock_guard guard(e.aref.amap()->lock());
    return e.aref.amap()->shared_by_inheritance();
}

// Whether the child's copy of the entry's memory is put off. It cannot be when the parent may not
// take faults on it (wired pages stay as they are), nor when a third process writes to the amap.
bool vmspace::copy_is_deferred(const vm_map_entry& e, fork_mode mode) {
    return copy_has_the_same_anons(e, mode) && !shared_by_inheritance(e);
}

// Whether the child's copy begins with the parent's anons, in the same amap or in one of its own.
bool vmspace::copy_has_the_same_anons(const vm_map_entry& e, fork_mode mode) {
    return e.inheritance == vm_inherit::copy && e.copy_on_write && e.aref &&
           mode != fork_mode::copy && !e.wired_count;
}

// Whether the child is promised the memory of its entry: where the parent is, and where it gets
// its own private copy of something shared.
static bool child_is_charged(const vm_map_entry& e) {
    if (e.inheritance == vm_inherit::none)
        return false;
    if (e.copy_on_write)
        return e.charged;
    return e.inheritance != vm_inherit::share && allows(e.protection, vm_prot::write);
}

uint64_t vmspace::child_charge() const {
    uint64_t pages = 0;
    for (vm_map_entry* e = map_.first(); e; e = map_.next(*e))
        pages += child_is_charged(*e) ? e->pages() : 0;
    return pages;
}

// What has become of the parent's entry `e`; `c` is the child's, if it has one.
static void trace_inherited(const vm_map& parent, const vm_map& child, const vm_map_entry& e,
                            const vm_map_entry* c) {
    using enum trace::inherit_outcome;
    TRACE(map_entry_inherited, .parent_map = &parent, .child_map = &child, .start = e.start,
          .end = e.end,
          .outcome = !c                                   ? not_inherited
                     : e.inheritance == vm_inherit::zero  ? untouched
                     : e.inheritance == vm_inherit::share ? shared
                     : !c->aref                           ? object_only
                     : c->aref.amap() == e.aref.amap()    ? amap_referenced
                                                          : amap_copied);
}

status vmspace::inherit_entry(vmspace& parent, vm_map_entry& e, fork_mode mode,
                              vm_aftermath* later) {
    if (e.inheritance == vm_inherit::none) {
        trace_inherited(parent.map_, map_, e, nullptr);
        return {};
    }
    entry_stock stock;
    TRY(stock.reserve(1, e.aref ? entry_stock::kind::attachable : entry_stock::kind::bare));
    vm_map_entry& c = stock.peek();
    c.copy_attributes(e);
    c.start = e.start;
    c.end = e.end;
    c.wired_count = 0;
    c.wired_on_fault = false;
    c.charged = child_is_charged(e);
    c.fork = {ref_ptr<vm_aftermath>(later), vm_aftermath::side::child};
    switch (e.inheritance) {
    case vm_inherit::none: break;
    case vm_inherit::zero: c.become_untouched(); break;
    case vm_inherit::share:
        if (e.copy_on_write)
            TRY(share_amap(parent, e, c));
        break;
    case vm_inherit::copy:
        c.become_private();
        if (e.aref)
            TRY(copy_amap(e, c, mode));
        break;
    }
    map_.insert(stock.take());
    uvm_count(uvm_counter::map_entries_copied);
    trace_inherited(parent.map_, map_, e, &c);
    return {};
}

// An amap that children may share. Before, it must be this entry's alone: an amap that an earlier
// fork left with both sides would part the two at the first write, and one that other entries of
// this map use has parts that are not shared so. ENOMEM leaves the entry as it was. What has been
// done stays when the fork fails after it, which no program can tell: the memory has the same
// contents, in an amap that is the entry's own, and some of it has to be mapped again by faults.
status vmspace::make_amap_shared(vm_map_entry& e) {
    if (e.needs_copy)
        TRY(e.copy_for_write());
    if (shared_by_inheritance(e))
        return {};
    TRY(e.separate_amap());
    // A page of zeros that is mapped would hide a child's stores.
    pmap_->remove(e.start, e.end);
    lock_guard guard(e.aref.amap()->lock());
    e.aref.amap()->set_shared_by_inheritance();
    return {};
}

// Both sides go on with one amap and see each other's stores.
status vmspace::share_amap(vmspace& parent, vm_map_entry& e, vm_map_entry& c) {
    TRY(parent.make_amap_shared(e));
    TRY(c.aref.prepare());
    c.needs_copy = false;
    c.aref.attach(ref_ptr<vm_amap>(e.aref.amap()), e.aref.first(), e.pages());
    return {};
}

status vmspace::copy_amap(vm_map_entry& e, vm_map_entry& c, fork_mode mode) {
    vm_amap* amap = e.aref.amap();
    slot_t first = e.aref.first();
    if (copy_is_deferred(e, mode)) {
        uvm_count(uvm_counter::amaps_referenced);
        c.aref.attach(ref_ptr<vm_amap>(amap), first, e.pages());
        return {};
    }
    c.aref.attach(TRY(c.new_amap(first, amap)), first, e.pages());
    c.needs_copy = false;
    uvm_count(uvm_counter::amaps_copied);
    lock_guard guard(amap->lock());
    if (mode == fork_mode::copy || e.wired_count)
        return c.aref.amap()->copy_anons(*amap, first, e.slot_end());
    // An amap that others write to: the child takes references to the anons as they are now, and
    // whoever writes to one next, in whichever process, gets a copy.
    TRY(c.aref.amap()->share_anons(*amap, first, e.slot_end()));
    slot_t slot = first;
    for (; vm_anon* anon = amap->find_from(slot, e.slot_end()); slot++) {
        pmap::page_protect(anon->page(), vm_prot::rx);
        long_work::pause();
    }
    TRACE(amap_copied, .from = amap, .to = c.aref.amap(), .first = first, .slots = e.pages(),
          .pages_copied = 0);
    return {};
}

// ---- Identity --------------------------------------------------------------------------------

// Null for memory that is private, also if a child is yet to share it.
std::optional<memory_place> vmspace::shared_place(vm_map_entry& e, vaddr_t va) {
    if (!e.copy_on_write)
        return memory_place{e.object->serial.value(), e.offset + (va - e.start)};
    if (e.aref && !e.needs_copy && shared_by_inheritance(e))
        return memory_place{e.aref.amap()->serial.value(),
                            (e.slot_of(va) << page_shift) + va.page_offset()};
    return {};
}

// Who waits for a word must be found by a child that comes later: what the child is going to share
// is made shared now.
expected<memory_place> vmspace::place_of(vaddr_t va) {
    {
        read_guard guard(map_.lock());
        vm_map_entry* e = map_.lookup(va);
        if (!e)
            return fail(Errno::fault);
        if (auto place = shared_place(*e, va))
            return *place;
        if (e->inheritance != vm_inherit::share)
            return memory_place{0, va.value()};
    }
    lock_guard guard(map_.lock());
    vm_map_entry* e = map_.lookup(va);
    if (!e)
        return fail(Errno::fault);
    if (e->copy_on_write && e->inheritance == vm_inherit::share)
        TRY(make_amap_shared(*e));
    return shared_place(*e, va).value_or(memory_place{0, va.value()});
}

// ---- The parent's side -----------------------------------------------------------------------

// An entry that needs_copy already is from an earlier fork, and nothing in it is mapped writable.
void vmspace::write_protect_for_fork(vm_map_entry& e, vm_aftermath* later) {
    if (e.needs_copy)
        return;
    e.needs_copy = true;
    e.fork = {ref_ptr<vm_aftermath>(later), vm_aftermath::side::parent};
    if (allows(e.protection, vm_prot::write))
        pmap_->protect(e.start, e.end, e.effective_protection() & ~vm_prot::write);
    TRACE(needs_copy_set, .entry = &e, .start = e.start, .end = e.end);
}

// Only where the child would find the parent's page by a fault, too: not where it has copies.
void vmspace::seed_page_tables(vmspace& parent) {
    for (vm_map_entry* e = parent.map_.first(); e; e = parent.map_.next(*e)) {
        bool same_pages = e->inheritance == vm_inherit::share ||
                          (e->inheritance == vm_inherit::copy &&
                           (!e->aref || copy_is_deferred(*e, fork_mode::cow)));
        if (same_pages)
            pmap_->copy(*parent.pmap_, e->start, e->end);
    }
}

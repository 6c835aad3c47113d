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
#include "vm/phys/event.h"
#include "vm/uvm_commit.h"
#include "vm/vmspace.h"

using enum trace::inherit_outcome;

expected<ref_ptr<vmspace>> vmspace::fork(const fork_job& job) {
    expected<ref_ptr<vmspace>> child = fork_locked(job);
    if (child)
        (*child)->check_seam();
    check_seam();
    return child;
}

expected<ref_ptr<vmspace>> vmspace::fork_locked(const fork_job& job) {
    ref_ptr<vmspace> child; // ends, if the fork fails, after both locks are released
    lock_guard guard(map_.lock());
    // First the promise: a child is not begun that could not be given all it may come to write.
    commit_reservation promise;
    TRY(promise.take(child_charge()));
    child = TRY(vmspace::create());
    TRY(child->inherit_map(*this, job, promise));
    // Nothing can fail any more. Only now is the parent touched, but for what fork() says of memory
    // that is shared by inheritance.
    put_off_copies(job);
    if (job.mode == fork_mode::cow_pte)
        child->seed_page_tables(*this);
    EVENT(vmspace_forked, .parent = this, .child = child.get(), .mode = trace::copy_mode(job.mode),
          .entries = map_.entry_count());
    return child;
}

// The child's side: fills this map, which is empty and known to nobody else.
status vmspace::inherit_map(vmspace& parent, const fork_job& job, commit_reservation& promise) {
    lock_guard guard(map_.lock(), nested_lock());
    status result;
    for (vm_map_entry* e = parent.map_.first(); e && result; e = parent.map_.next(*e)) {
        result = long_work::go_on();
        if (result)
            result = inherit_entry(parent, *e, job);
    }
    map_.finish();
    // Whatever has been inherited is this map's to give back, also if the rest has failed.
    promise.hand_over(map_.totals().charged);
    brk_start_ = parent.brk_start_;
    brk_ = parent.brk_;
    mmap_top_ = parent.mmap_top_;
    image = parent.image;
    announced_barriers = parent.announced_barriers.load();
    return result;
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

status vmspace::inherit_entry(vmspace& parent, vm_map_entry& e, const fork_job& job) {
    inherit_outcome outcome = not_inherited;
    if (e.inheritance != vm_inherit::none) {
        entry_stock stock;
        TRY(stock.reserve(1, e.aref ? entry_stock::kind::attachable : entry_stock::kind::bare));
        vm_map_entry& c = stock.peek();
        c.copy_attributes(e);
        c.start = e.start;
        c.end = e.end;
        c.wired_count = 0;
        c.wired_on_fault = false;
        c.charged = child_is_charged(e);
        c.last_fork = job.seen_from(vm_aftermath::side::child);
        outcome = TRY(give_memory(parent, e, c, job.mode));
        map_.append(stock.take());
    }
    EVENT(map_entry_inherited, .parent_map = &parent.map_, .child_map = &map_, .start = e.start,
          .end = e.end, .outcome = outcome);
    return {};
}

// What the child's entry `c` has of the parent's memory: the table above.
expected<vmspace::inherit_outcome> vmspace::give_memory(vmspace& parent, vm_map_entry& e,
                                                        vm_map_entry& c, fork_mode mode) {
    switch (e.inheritance) {
    case vm_inherit::none: break;
    case vm_inherit::zero: c.become_untouched(); return untouched;
    case vm_inherit::share:
        if (e.copy_on_write)
            TRY(share_amap(parent, e, c));
        return shared;
    case vm_inherit::copy:
        c.become_private();
        if (!e.aref)
            return object_only;
        return copy_has_the_same_anons(e, mode) ? copy_amap(e, c, mode) : copy_pages(e, c);
    }
    __builtin_unreachable();
}

// ---- copy: each page, now: the first fork -----------------------------------------------------

expected<vmspace::inherit_outcome> vmspace::copy_pages(vm_map_entry& e, vm_map_entry& c) {
    vm_amap& amap = *e.aref.amap();
    const slot_t first = e.aref.first(), end = e.slot_end();
    c.aref.attach(TRY(c.new_amap(first, &amap)), first, e.pages());
    c.needs_copy = false;
    lock_guard guard(amap.lock());
    TRY(c.aref.amap()->copy_anons(amap, first, end));
    return amap_copied;
}

// ---- cow: at the first write -----------------------------------------------------------------

// Whether the child's copy of the entry's memory is put off. It cannot be when the parent may not
// take faults on it (wired pages stay as they are), nor when a third process writes to the amap.
bool vmspace::copy_is_deferred(const vm_map_entry& e, fork_mode mode) {
    return copy_has_the_same_anons(e, mode) && !e.shared_by_inheritance();
}

// Whether the child's copy begins with the parent's anons, in the same amap or in one of its own.
bool vmspace::copy_has_the_same_anons(const vm_map_entry& e, fork_mode mode) {
    return e.inheritance == vm_inherit::copy && e.copy_on_write && e.aref &&
           mode != fork_mode::copy && !e.wired_count;
}

// The child's copy begins with the parent's anons: in the parent's amap itself, or in one of its own
// if others write to that.
expected<vmspace::inherit_outcome> vmspace::copy_amap(vm_map_entry& e, vm_map_entry& c,
                                                      fork_mode mode) {
    if (copy_is_deferred(e, mode)) {
        c.aref.attach(ref_ptr<vm_amap>(e.aref.amap()), e.aref.first(), e.pages());
        return amap_referenced;
    }
    c.aref.attach(TRY(c.new_amap(e.aref.first(), e.aref.amap())), e.aref.first(), e.pages());
    c.needs_copy = false;
    lock_guard guard(e.aref.amap()->lock());
    TRY(copy_references(e, c));
    return amap_copied;
}

// The child takes references to the anons as they are now, and whoever writes to one next, in
// whichever process, gets a copy.
status vmspace::copy_references(vm_map_entry& e, vm_map_entry& c) {
    vm_amap& amap = *e.aref.amap();
    amap.lock().assert_held();
    TRY(c.aref.amap()->share_anons(amap, e.aref.first(), e.slot_end()));
    slot_t slot = e.aref.first();
    for (; vm_anon* anon = amap.find_from(slot, e.slot_end()); slot++) {
        if (vm_page* page = anon->page())
            pmap::page_protect(*page, vm_prot::rx);
        long_work::pause();
    }
    return {};
}

// The parent's side.
void vmspace::put_off_copies(const fork_job& job) {
    for (vm_map_entry* e = map_.first(); e; e = map_.next(*e)) {
        if (copy_is_deferred(*e, job.mode))
            write_protect_for_fork(*e, job);
        else if (copy_has_the_same_anons(*e, job.mode))
            e->last_fork = job.seen_from(vm_aftermath::side::parent);
        long_work::pause();
    }
}

// An entry that needs_copy already is from an earlier fork, and nothing in it is mapped writable.
void vmspace::write_protect_for_fork(vm_map_entry& e, const fork_job& job) {
    if (e.needs_copy)
        return;
    e.needs_copy = true;
    e.last_fork = job.seen_from(vm_aftermath::side::parent);
    if (allows(e.protection, vm_prot::write))
        pmap_->write_protect(e.start, e.end);
    EVENT(needs_copy_set, .entry = &e, .start = e.start, .end = e.end);
}

// cow_pte. Only where the child would find the parent's page by a fault, too: not where it has
// copies.
void vmspace::seed_page_tables(vmspace& parent) {
    for (vm_map_entry* e = parent.map_.first(); e; e = parent.map_.next(*e)) {
        bool same_pages = e->inheritance == vm_inherit::share ||
                          (e->inheritance == vm_inherit::copy &&
                           (!e->aref || copy_is_deferred(*e, fork_mode::cow)));
        if (same_pages)
            pmap_->copy(*parent.pmap_, e->start, e->end);
    }
}

// ---- share: minherit(2) ----------------------------------------------------------------------

// An amap that children may share. Before, it must be this entry's alone: an amap that an earlier
// fork left with both sides would part the two at the first write, and one that other entries of
// this map use has parts that are not shared so. ENOMEM leaves the entry as it was. What has been
// done stays when the fork fails after it, which no program can tell: the memory has the same
// contents, in an amap that is the entry's own, and some of it has to be mapped again by faults.
status vmspace::make_amap_shared(vm_map_entry& e) {
    if (e.needs_copy)
        TRY(e.copy_for_write());
    if (e.shared_by_inheritance())
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

// vm_anon: one page of anonymous memory.
//
// Owned by the slots of amaps: one reference for each slot it is in. Amaps that came from one
// another by copy_for_write() share their anons until one side writes (Cranor 1998, ch. 4).
//
// Lock: lock(), which is that of every amap that has the anon in a slot (vm/amap_lock.h). It guards
// the page, what is mapped of it, and the references: who holds it and sees references() == 1 is
// alone with the anon and stays so.
//
// Invariants: the page of an anon with more than one reference is mapped writable by nobody; there
// is a reference for each slot that the anon is in, and while the lock is free no other one.
#pragma once

#include "vm/amap_lock.h"

class owned_page;
struct vm_page;

class vm_anon final : public ref_counted<vm_anon> {
public:
    static constexpr auto end_takes = lock_rank::pmap;
    // A new anon, for an amap that has this lock, with a page: zeros, or a copy of `contents`.
    // ENOMEM. Does not sleep.
    static expected<ref_ptr<vm_anon>> create_zeroed(amap_lock& lock) REQUIRES(lock);
    static expected<ref_ptr<vm_anon>> create_copy(amap_lock& lock, const vm_page& contents)
        REQUIRES(lock);

    amap_lock& lock() const RETURN_CAPABILITY(lock_) { return lock_; }
    // The page. The caller holds the lock, for the most part as that of an amap.
    vm_page& page() const {
        lock_.assert_held();
        return *page_;
    }
    // Where the page is. For snapshots: nothing changes meanwhile.
    paddr_t physical() const NO_THREAD_SAFETY_ANALYSIS;

    // The anon has been put into a slot, whose reference this is.
    static void enter_slot(ref_ptr<vm_anon> anon);
    // Drops the reference of a slot that the anon has just been taken out of.
    static void leave_slot(vm_anon& anon);
    // Panics unless it has a reference for each slot. In builds with SPORK_CHECKS.
    void check_references() const;
    // Removes the page from every pmap and gives it back. The lock is held.
    void last_reference_gone();

    vm_anon(amap_lock& lock, vm_page* page);

private:
    static expected<ref_ptr<vm_anon>> create(amap_lock& lock, owned_page page);

#if SPORK_CHECKS
    uint32_t slots_ GUARDED_BY(lock_) = 0; // that it is in
#endif
    amap_lock& lock_;
    vm_page* const page_ GUARDED_BY(lock_);
};

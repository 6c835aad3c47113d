// vm_anon: one page of anonymous memory.
//
// Owned by the slots of amaps: one reference for each slot it is in. Amaps that came from one
// another by copy_for_write() share their anons until one side writes (Cranor 1998, ch. 4).
//
// Lock: lock(), which is that of every amap that has the anon in a slot (vm/amap_lock.h). It guards
// the page, what is mapped of it, and the references: who holds it and sees references() == 1 is
// alone with the anon and stays so.
//
// The page is in memory, or in a slot of a swap area (vm/uvm_swap.h), or in both while nobody has
// written to it since it came from there:
//
//      page()   slot()
//      yes      none      written to since it was made or came in
//      yes      yes       the slot has the same: it goes without being written
//      busy               on its way in, or out (vm/uvm_pager.h)
//      none     yes       out
//
// A page that the program has no use for any more (MADV_FREE) has slot_of_zeros until it is written
// to again: it goes without being written anywhere, and comes back as zeros.
//
// Invariants: the page of an anon with more than one reference, or with a slot, is mapped writable
// by nobody; there is a reference for each slot that the anon is in, and while the lock is free no
// other one.
#pragma once

#include "vm/amap_lock.h"
#include "vm/uvm_swap.h"

class owned_page;
class page_in;
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
    // The page, if it is in memory and stays there while the caller holds the lock (for the most
    // part as that of an amap); else null.
    vm_page* page() const;
    // Of one that was just made: it is there.
    vm_page& new_page() const {
        lock_.assert_held();
        return *page_;
    }
    // Sees to it that the page comes to memory, if it is not there. EAGAIN: `later` is to be waited
    // for, without locks, and then everything looked up again. ENOMEM.
    status bring_in(page_in& later);
    // How many forks there had been when it was made (vm/vm_aftermath.h), where there is paging.
    uint32_t born() const { return born_; }
    // Whether it is in swap and nowhere else.
    bool is_swapped() const {
        lock_.assert_held();
        return !page_ && slot_ != slot_of_zeros;
    }
    // The page comes with what `later` brings in, if its slot is the next one: whether it does.
    bool come_along(page_in& later);
    // Where it is put out, or none.
    swap_slot slot() const {
        lock_.assert_held();
        return slot_;
    }
    // The page, which is in memory, is about to be written to: what the slot has is of no use any
    // more.
    void drop_slot();
    // What the page has may be lost, until it is written to: if it is in memory and not on its way. It
    // is mapped by nobody.
    bool free_lazily();
    // The page, which has no mapping, is freed: the slot, which there is, has the same.
    void leave_memory();
    // As bring_in(), and it has no slot from then on: for swapoff.
    status leave_swap(page_in& later);
    // Where the page is; out: beyond all memory, by its slot. For snapshots: nothing changes meanwhile.
    paddr_t physical() const NO_THREAD_SAFETY_ANALYSIS;

    // The anon has been put into a slot, whose reference this is.
    static void enter_slot(ref_ptr<vm_anon> anon);
    // Drops the reference of a slot that the anon has just been taken out of.
    static void leave_slot(vm_anon& anon);
    // Panics unless it has a reference for each slot. In builds with SPORK_CHECKS.
    void check_references() const;
    // Removes the page from every pmap and gives it back. The lock is held.
    void last_reference_gone();

    // For the pager, which has moved the page; `wanted`: not one that came along. The lock is held.
    void page_came(vm_page& page, const status& read, bool wanted);
    // Whether the page has been freed. No slot: it could not be written, and stays.
    bool page_went(vm_page& page, swap_slot slot);

    vm_anon(amap_lock& lock, vm_page* page);

private:
    static expected<ref_ptr<vm_anon>> create(amap_lock& lock, owned_page page);
    bool make_room();
    status make_zeros();
    void give_slot_back();
    void end();

    swap_slot slot_ GUARDED_BY(lock_) = 0;
    uint32_t born_ CONSTANT_ONCE_SHARED = 0;
#if SPORK_CHECKS
    uint32_t slots_ GUARDED_BY(lock_) = 0; // that it is in
#endif
    amap_lock& lock_;
    vm_page* page_ GUARDED_BY(lock_); // busy, too
};

// The pager: moves pages between memory and swap areas or their homes, without locks, and tells their
// owners.
#pragma once

#include "vm/uvm_busy.h"

// Waits for what `way` has begun: brings the page in, or waits until somebody else has moved it.
// Sleeps; no lock is held. EIO: the page could not be read. Nothing to wait for is no error.
status page_in_finish(page_in& way);

// Writes pages out, many at once: for the page daemon and MADV_PAGEOUT.
class page_out {
public:
    // Whether a page, whose owner is locked, may go: nobody has wired it, and there is room in swap
    // unless the page has a slot.
    static bool may_go(vm_page& page);
    // Takes such a page, which is on no queue, out of every pmap. One that has a slot, or is at home as
    // it is here, is freed: true. Another one is to be written: busy from now on, if to swap. There is
    // room.
    bool take(vm_page& page, const page_owner_lock& owner);
    unsigned count() const { return count_; }
    bool full() const { return count_ == uvm_swap::cluster || home_; }
    // Writes them and frees those that nobody has asked for meanwhile; how many. Sleeps. Those for
    // which there is no slot, or whose slot cannot be written, stay.
    unsigned finish();

private:
    void add(vm_page& page, const page_owner_lock& owner);
    unsigned write(unsigned first, unsigned& freed);
    bool end(unsigned n, swap_slot slot, const status& written);

    vm_page* pages_[uvm_swap::cluster] = {};
    uvm_swap::slot_owner owners_[uvm_swap::cluster];
    page_owner_lock locks_[uvm_swap::cluster];
    unsigned count_ = 0;
    page_owner_lock home_; // of a page that is to be written home
    uint64_t home_index_ = 0;
};

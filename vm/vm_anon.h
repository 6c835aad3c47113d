// vm_anon: one page of anonymous memory.
//
// Owned by the slots of amaps: one reference for each slot it is in. Amaps that came from one
// another by copy_for_write() share their anons until one side writes (Cranor 1998, ch. 4).
//
// Locking: a reference is only added by somebody who holds the lock of an amap that has the anon
// in a slot. So whoever holds that lock and sees references() == 1 is alone with the anon and
// stays so; one who sees more may find the others gone a moment later, which costs a copy that
// need not have been.
//
// Invariant: the page of an anon with more than one reference is mapped writable by nobody.
#pragma once

#include "lib/ref_ptr.h"
#include "lib/result.h"
#include "vm/vm_page.h"

class vm_anon final : public ref_counted<vm_anon> {
public:
    // A new anon with a page: zeros, or a copy of `contents`. ENOMEM. Does not sleep.
    static expected<ref_ptr<vm_anon>> create_zeroed();
    static expected<ref_ptr<vm_anon>> create_copy(const vm_page& contents);

    // The page; never null while memory is not swapped out.
    vm_page& page() const { return *page_; }

    // Drops the reference of a slot that the anon has just been taken out of.
    static void leave_slot(vm_anon& anon);
    // Removes the page from every pmap and gives it back.
    void last_reference_gone();

    explicit vm_anon(vm_page* page) : page_(page) { page->anon = this; }

private:
    static expected<ref_ptr<vm_anon>> create(owned_page page);

    vm_page* const page_;
};

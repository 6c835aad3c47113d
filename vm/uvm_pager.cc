#include "vm/uvm_pager.h"

#include "vm/phys/event.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_object.h"
#include "vm/vm_anon.h"

// ---- In --------------------------------------------------------------------------------------

status page_in_finish(page_in& way) {
    vm_page* const page = std::exchange(way.page_, nullptr);
    if (!page)
        return {};
    EVENT(page_waited_for, .page = page->physical(), .slot = way.slot_);
    if (way.slot_ == 0) {
        page_wait_idle(*page);
        return {};
    }
    const status read = uvm_swap::transfer(disk_operation::read, way.slot_, {&page, 1});
    {
        lock_guard guard(way.owner_.get());
        if (way.anon_) {
            way.anon_->page_came(*page, read);
        } else {
            way.owner_.object()->lock().assert_held();
            way.owner_.object()->page_came(*page, way.slot_, read);
        }
    }
    way.owner_ = {};
    return read;
}

// ---- Out -------------------------------------------------------------------------------------

void page_out::add(vm_page& page, page_owner_lock owner) {
    ASSERT(!full());
    page_set_busy(page);
    pages_[count_] = &page;
    owners_[count_] = page.owner_kind == page_owner::anon
                          ? uvm_swap::slot_owner(*page.anon)
                          : uvm_swap::slot_owner(*page.object, page.index);
    locks_[count_] = std::move(owner);
    count_++;
}

unsigned page_out::finish() {
    unsigned freed = 0;
    for (unsigned first = 0; first < count_;)
        first += write(first, freed);
    count_ = 0;
    return freed;
}

// Those from `first` on whose slots lie in a row; all, if there are none. How many.
unsigned page_out::write(unsigned first, unsigned& freed) {
    const auto slots = uvm_swap::allocate({owners_ + first, count_ - first});
    const unsigned n = slots.count ? slots.count : count_ - first;
    const status written =
        slots.count ? uvm_swap::transfer(disk_operation::write, slots.first, {pages_ + first, n})
                    : status(fail(Errno::nospc));
    if (slots.count)
        EVENT(daemon_wrote, .first_slot = slots.first, .pages = n,
              .result = written ? 0 : -int32_t(written.error()));
    for (unsigned i = 0; i < n; i++)
        freed += end(first + i, slots.count ? slots.first + i : 0, written);
    return n;
}

// Whether the page has been freed.
bool page_out::end(unsigned n, swap_slot slot, const status& written) {
    const page_owner_lock owner = std::move(locks_[n]);
    if (!written && slot)
        uvm_swap::give_up(slot);
    lock_guard guard(owner.get());
    const swap_slot to = written ? slot : 0;
    if (vm_anon* anon = owners_[n].anon())
        return anon->page_went(*pages_[n], to);
    uvm_object& object = *owners_[n].object();
    object.lock().assert_held();
    return object.page_went(*pages_[n], to);
}

#include "vm/uvm_pager.h"

#include "arch/pmap.h"
#include "vm/phys/event.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_object.h"
#include "vm/vm_anon.h"

// ---- In --------------------------------------------------------------------------------------

status page_in_finish(page_in& way) {
    const unsigned count = way.count_;
    if (count == 0)
        return {};
    vm_page& wanted = *way.pages_[0];
    EVENT(page_waited_for, .page = wanted.physical(), .slot = way.slot_, .pages = count);
    if (way.slot_ == 0) {
        way.count_ = 0;
        page_wait_idle(wanted);
        return {};
    }
    about_to_move_pages(page_way::in);
    const auto read = [&](unsigned pages) {
        return uvm_swap::transfer(disk_operation::read, way.slot_, {way.pages_, pages});
    };
    status first = read(count), others = first;
    if (!first && count > 1) // it may be another one that cannot be read
        first = read(1);
    {
        lock_guard guard(way.owner_.get());
        for (unsigned n = 0; n < count; n++)
            way.came(n, n == 0 ? first : others);
    }
    way.count_ = 0;
    way.owner_ = {};
    return first;
}

void page_in::came(unsigned n, const status& read) {
    if (anons_[n])
        return anons_[n]->page_came(*pages_[n], read, n == 0);
    uvm_object& object = *owner_.object();
    object.lock().assert_held();
    object.page_came(*pages_[n], slot_ + n, read, n == 0);
}

// ---- Out -------------------------------------------------------------------------------------

bool page_out::may_go(vm_page& page) {
    if (page.wire_count != 0 || pmap::is_wired(page))
        return false;
    return !uvm_swap::full() || (page.owner_kind == page_owner::anon && page.anon->slot());
}

bool page_out::take(vm_page& page, page_owner_lock owner) {
    pmap::page_protect(page, vm_prot::none);
    if (page.owner_kind == page_owner::anon && page.anon->slot()) {
        page.anon->leave_memory();
        return true;
    }
    add(page, std::move(owner));
    return false;
}

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
    about_to_move_pages(page_way::out);
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

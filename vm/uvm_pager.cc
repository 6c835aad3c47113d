#include "vm/uvm_pager.h"

#include "arch/pmap.h"
#include "vm/phys/event.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_object.h"
#include "vm/vm_anon.h"

// ---- In --------------------------------------------------------------------------------------

status page_in::read(unsigned pages) {
    const std::span<vm_page* const> wanted(pages_, pages);
    return what_ == waits_for::swap ? uvm_swap::transfer(disk_operation::read, slot_, wanted)
                                    : owner_.object()->read_home(first_, wanted);
}

status page_in::read_all() {
    cause_.count_page_in();
    about_to_move_pages(page_way::in);
    status first = read(count_), others = first;
    if (!first && count_ > 1) // it may be another one that cannot be read
        first = read(1);
    lock_guard guard(owner_.get());
    for (unsigned n = 0; n < count_; n++)
        came(n, n == 0 ? first : others);
    return first;
}

status page_in_finish(page_in& way) {
    using waits_for = page_in::waits_for;
    if (way.what_ == waits_for::nothing)
        return {};
    status done;
    if (way.what_ == waits_for::place) {
        done = way.owner_.object()->make_ready(way.first_, way.end_);
    } else {
        vm_page& wanted = *way.pages_[0];
        EVENT(page_waited_for, .page = wanted.physical(), .slot = way.slot_, .pages = way.count_);
        if (way.what_ == waits_for::another)
            page_wait_idle(wanted);
        else
            done = way.read_all();
    }
    way.what_ = waits_for::nothing;
    way.count_ = 0;
    way.owner_ = {};
    return done;
}

void page_in::came(unsigned n, const status& read) {
    if (what_ == waits_for::swap && anons_[n])
        return anons_[n]->page_came(*pages_[n], read, n == 0);
    uvm_object& object = *owner_.object();
    object.lock().assert_held();
    object.page_came(*pages_[n], slot_ ? slot_ + n : 0, read, n == 0);
}

// ---- Out -------------------------------------------------------------------------------------

bool page_out::may_go(vm_page& page) {
    if (page.wire_count != 0 || pmap::is_wired(page))
        return false;
    if (page.owner_kind == page_owner::anon)
        return !uvm_swap::full() || page.anon->slot();
    return !uvm_swap::full() || page.object->has_home();
}

bool page_out::take(vm_page& page, const page_owner_lock& owner) {
    pmap::page_protect(page, vm_prot::none);
    if (page.owner_kind == page_owner::anon && page.anon->slot()) {
        page.anon->leave_memory();
        return true;
    }
    if (page.owner_kind == page_owner::object && page.object->has_home()) {
        page.object->lock().assert_held();
        const uint64_t index = page.index;
        if (page.object->leave_memory(page))
            return true;
        home_ = owner;
        home_index_ = index;
        return false;
    }
    add(page, owner);
    return false;
}

void page_out::add(vm_page& page, const page_owner_lock& owner) {
    ASSERT(!full());
    page_set_busy(page);
    pages_[count_] = &page;
    owners_[count_] = page.owner_kind == page_owner::anon
                          ? uvm_swap::slot_owner(*page.anon)
                          : uvm_swap::slot_owner(*page.object, page.index);
    locks_[count_] = owner;
    count_++;
}

unsigned page_out::finish() {
    unsigned freed = 0;
    if (const page_owner_lock home = std::exchange(home_, {}))
        freed += home.object()->write_out(home_index_);
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

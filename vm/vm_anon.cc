#include "vm/vm_anon.h"

#include "arch/pmap.h"
#include "vm/phys/event.h"
#include "vm/phys/pool.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_busy.h"
#include "vm/uvm_pdaemon.h"
#include "vm/vm_aftermath.h"

static pool<vm_anon> anon_pool{"vm_anon"};

vm_anon::vm_anon(amap_lock& lock, vm_page* page) : lock_(lock), page_(page) { page->anon = this; }

paddr_t vm_anon::physical() const {
    constexpr uint64_t beyond = uint64_t{1} << 51;
    if (page_)
        return page_->physical();
    if (slot_ == slot_of_zeros) // which many have
        return paddr_t(beyond + beyond / 2 +
                       (reinterpret_cast<uintptr_t>(this) & (beyond / 4 - 1)));
    return paddr_t(beyond + (uint64_t{slot_} << page_shift));
}

expected<ref_ptr<vm_anon>> vm_anon::create(amap_lock& lock, owned_page page) {
    if (!page)
        return fail(Errno::nomem);
    vm_anon* anon = anon_pool.create(lock, page.get());
    if (!anon)
        return fail(Errno::nomem);
    vm_page* const owned = page.release();
    if (uvm_pdpolicy::on()) {
        anon->born_ = vm_aftermath::now();
        uvm_pdaemon::enqueue_new(*owned);
    }
    EVENT(anon_created, .anon = anon, .page = anon->physical());
    return ref_ptr<vm_anon>::adopt(anon);
}

expected<ref_ptr<vm_anon>> vm_anon::create_zeroed(amap_lock& lock) {
    return create(lock, owned_page(vm_page_alloc(page_owner::anon, true)));
}

expected<ref_ptr<vm_anon>> vm_anon::create_copy(amap_lock& lock, const vm_page& contents) {
    auto anon = TRY(create(lock, owned_page(vm_page_alloc(page_owner::anon))));
    copy_page(anon->new_page().data(), contents.data());
    EVENT(anon_copied, .anon = anon.get(), .from_page = contents.physical(),
          .page = anon->physical());
    return anon;
}

void vm_anon::last_reference_gone() {
    lock_.assert_held();
    if (page_ && page_->busy)
        page_->released = true; // who moves it ends the anon
    else
        end();
}

void vm_anon::end() {
    lock_.assert_held();
    const trace::addr page = physical();
    if (page_) {
        pmap::page_protect(*page_, vm_prot::none);
        if (page_->queued)
            uvm_pdpolicy::dequeue(*page_);
        vm_page_free(page_);
    }
    give_slot_back();
    anon_pool.destroy(this);
    EVENT(anon_destroyed, .anon = this, .page = page);
}

// ---- In memory, and out ----------------------------------------------------------------------

vm_page* vm_anon::page() const {
    lock_.assert_held();
    return page_ && !page_->busy ? page_ : nullptr;
}

status vm_anon::bring_in(page_in& later) {
    lock_.assert_held();
    if (page_ && !page_->busy)
        return {};
    if (page_) {
        later.wait_for(*page_);
        return fail(Errno::again);
    }
    if (slot_ == slot_of_zeros)
        return make_zeros();
    if (!make_room())
        return fail(Errno::nomem);
    later.begin(*page_, slot_, page_owner_lock(lock_), this);
    return fail(Errno::again);
}

// Nothing has to be waited for.
status vm_anon::make_zeros() {
    lock_.assert_held();
    page_ = vm_page_alloc(page_owner::anon, true);
    if (!page_)
        return fail(Errno::nomem);
    page_->anon = this;
    uvm_pdaemon::enqueue_new(*page_);
    return {};
}

bool vm_anon::come_along(page_in& later) {
    lock_.assert_held();
    if (page_ || !later.continues(slot_) || !make_room())
        return false;
    later.add(*page_, this);
    return true;
}

// A page for what is in the slot, busy until that has come.
bool vm_anon::make_room() {
    lock_.assert_held();
    page_ = vm_page_alloc(page_owner::anon);
    if (!page_)
        return false;
    page_->anon = this;
    page_set_busy(*page_);
    return true;
}

void vm_anon::drop_slot() {
    lock_.assert_held();
    ASSERT(page_ && !page_->busy);
    give_slot_back();
}

void vm_anon::give_slot_back() {
    lock_.assert_held();
    const swap_slot slot = std::exchange(slot_, 0);
    if (slot && slot != slot_of_zeros)
        uvm_swap::free(slot);
}

bool vm_anon::free_lazily() {
    lock_.assert_held();
    if (!page_ || page_->busy)
        return false;
    give_slot_back();
    slot_ = slot_of_zeros;
    (void)pmap::clear_referenced(*page_);
    uvm_pdpolicy::deactivate(*page_);
    return true;
}

void vm_anon::leave_memory() {
    lock_.assert_held();
    ASSERT(slot_);
    if (slot_ != slot_of_zeros)
        uvm_pdpolicy::went(*page_, slot_);
    vm_page_free(std::exchange(page_, nullptr));
}

status vm_anon::leave_swap(page_in& later) {
    TRY(bring_in(later));
    drop_slot();
    return {};
}

void vm_anon::page_came(vm_page& page, const status& read, bool wanted) {
    lock_.assert_held();
    page_clear_busy(page);
    if (page.released) {
        end();
    } else if (read) {
        uvm_pdaemon::enqueue_new(page, wanted ? slot_ : 0);
        EVENT(anon_paged_in, .anon = this, .page = page.physical(), .slot = slot_);
    } else {
        page_ = nullptr;
        vm_page_free(&page);
    }
}

bool vm_anon::page_went(vm_page& page, swap_slot slot) {
    lock_.assert_held();
    slot_ = slot;
    const bool goes = slot && !page.wanted;
    page_clear_busy(page);
    if (slot)
        EVENT(anon_paged_out, .anon = this, .page = page.physical(), .slot = slot_);
    if (page.released) {
        end();
        return true;
    }
    if (goes) {
        uvm_pdpolicy::went(page, slot);
        page_ = nullptr;
        vm_page_free(&page);
    } else {
        uvm_pdpolicy::enqueue(page);
    }
    return goes;
}

void vm_anon::check_references() const {
#if SPORK_CHECKS
    lock_.assert_held();
    if (references() != slots_) [[unlikely]]
        panic("broken rule: amaps: an anon has a reference for each slot that it is in: it has %u, "
              "and is in %u slots; anon %p, physical 0x%lx",
              references(), slots_, static_cast<const void*>(this), physical().value());
#endif
}

void vm_anon::enter_slot(ref_ptr<vm_anon> anon) {
#if SPORK_CHECKS
    anon->lock_.assert_held();
    anon->slots_++;
    anon->check_references();
#endif
    (void)anon.leak();
}

void vm_anon::leave_slot(vm_anon& anon) {
#if SPORK_CHECKS
    anon.lock_.assert_held();
    anon.check_references();
    anon.slots_--;
#endif
    const uint32_t left = anon.references() - 1;
    anon.drop_reference();
    if (left != 0)
        EVENT(anon_released, .anon = &anon, .references = left);
}

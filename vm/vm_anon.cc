#include "vm/vm_anon.h"

#include "arch/pmap.h"
#include "vm/phys/event.h"
#include "vm/phys/pool.h"
#include "vm/phys/vm_page.h"

static pool<vm_anon> anon_pool{"vm_anon"};

vm_anon::vm_anon(amap_lock& lock, vm_page* page) : lock_(lock), page_(page) { page->anon = this; }

paddr_t vm_anon::physical() const { return page_->physical(); }

expected<ref_ptr<vm_anon>> vm_anon::create(amap_lock& lock, owned_page page) {
    if (!page)
        return fail(Errno::nomem);
    vm_anon* anon = anon_pool.create(lock, page.get());
    if (!anon)
        return fail(Errno::nomem);
    (void)page.release();
    EVENT(anon_created, .anon = anon, .page = anon->physical());
    return ref_ptr<vm_anon>::adopt(anon);
}

expected<ref_ptr<vm_anon>> vm_anon::create_zeroed(amap_lock& lock) {
    return create(lock, owned_page(vm_page_alloc(page_owner::anon, true)));
}

expected<ref_ptr<vm_anon>> vm_anon::create_copy(amap_lock& lock, const vm_page& contents) {
    auto anon = TRY(create(lock, owned_page(vm_page_alloc(page_owner::anon))));
    copy_page(anon->page().data(), contents.data());
    EVENT(anon_copied, .anon = anon.get(), .from_page = contents.physical(),
          .page = anon->physical());
    return anon;
}

void vm_anon::last_reference_gone() {
    lock_.assert_held();
    const trace::addr page = page_->physical();
    pmap::page_protect(*page_, vm_prot::none);
    vm_page_free(page_);
    anon_pool.destroy(this);
    EVENT(anon_destroyed, .anon = this, .page = page);
}

void vm_anon::check_references() const {
#if SPORK_CHECKS
    lock_.assert_held();
    if (references() != slots_) [[unlikely]]
        panic("broken rule: amaps: an anon has a reference for each slot that it is in: it has %u, "
              "and is in %u slots; anon %p, physical 0x%lx",
              references(), slots_, static_cast<const void*>(this), page_->physical().value());
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

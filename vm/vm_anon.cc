#include "vm/vm_anon.h"

#include "arch/pmap.h"
#include "lib/trace.h"
#include "vm/phys/pool.h"
#include "vm/phys/uvmexp.h"

static pool<vm_anon> anon_pool{"vm_anon"};

expected<ref_ptr<vm_anon>> vm_anon::create(amap_lock& lock, owned_page page) {
    if (!page)
        return fail(Errno::nomem);
    vm_anon* anon = anon_pool.create(lock, page.get());
    if (!anon)
        return fail(Errno::nomem);
    (void)page.release();
    uvm_count(uvm_counter::anons_made);
    TRACE(anon_created, .anon = anon, .page = anon->physical());
    return ref_ptr<vm_anon>::adopt(anon);
}

expected<ref_ptr<vm_anon>> vm_anon::create_zeroed(amap_lock& lock) {
    owned_page page(vm_page_alloc(page_owner::anon, true));
    if (page)
        uvm_count(uvm_counter::pages_zeroed);
    return create(lock, std::move(page));
}

expected<ref_ptr<vm_anon>> vm_anon::create_copy(amap_lock& lock, const vm_page& contents) {
    auto anon = TRY(create(lock, owned_page(vm_page_alloc(page_owner::anon))));
    copy_page(anon->page().data(), contents.data());
    uvm_count(uvm_counter::pages_copied);
    TRACE(page_copied, .from = contents.physical(), .to = anon->physical());
    TRACE(anon_copied, .anon = anon.get(), .from_page = contents.physical(),
          .page = anon->physical());
    return anon;
}

void vm_anon::last_reference_gone() {
    lock_.assert_held();
    const trace::addr page = page_->physical();
    pmap::page_protect(*page_, vm_prot::none);
    uvm_count(uvm_counter::anons_freed);
    vm_page_free(page_);
    anon_pool.destroy(this);
    TRACE(anon_destroyed, .anon = this, .page = page);
}

void vm_anon::leave_slot(vm_anon& anon) {
    const uint32_t left = anon.references() - 1;
    anon.drop_reference();
    if (left != 0)
        TRACE(anon_released, .anon = &anon, .references = left);
}

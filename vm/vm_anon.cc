#include "vm/vm_anon.h"

#include "arch/pmap.h"
#include "vm/pool.h"
#include "vm/uvmexp.h"

static pool<vm_anon> anon_pool{"vm_anon"};

expected<ref_ptr<vm_anon>> vm_anon::create(owned_page page) {
    if (!page)
        return fail(Errno::nomem);
    vm_anon* anon = anon_pool.create(page.get());
    if (!anon)
        return fail(Errno::nomem);
    (void)page.release();
    uvm_count(uvm_counter::anons_made);
    return ref_ptr<vm_anon>::adopt(anon);
}

expected<ref_ptr<vm_anon>> vm_anon::create_zeroed() {
    auto anon = TRY(create(owned_page(vm_page_alloc(page_owner::anon, true))));
    uvm_count(uvm_counter::pages_zeroed);
    return anon;
}

expected<ref_ptr<vm_anon>> vm_anon::create_copy(const vm_page& contents) {
    auto anon = TRY(create(owned_page(vm_page_alloc(page_owner::anon))));
    copy_page(anon->page().data(), contents.data());
    uvm_count(uvm_counter::pages_copied);
    return anon;
}

void vm_anon::last_reference_gone() {
    pmap::page_protect(*page_, vm_prot::none);
    uvm_count(uvm_counter::anons_freed);
    vm_page_free(page_);
    anon_pool.destroy(this);
}

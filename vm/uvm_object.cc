// What an object knows of the private copies of its pages, and of who stores into them.
#include "vm/uvm_object.h"

#include "lib/assert.h"

static constexpr int64_t forbidden = INT64_MIN;

status uvm_object::begin_storing() {
    int64_t n = storing_.load();
    do {
        if (n < 0)
            return fail(Errno::perm);
    } while (!storing_.compare_exchange_weak(n, n + 1));
    return {};
}

status uvm_object::forbid_storing() {
    int64_t none = 0;
    if (!storing_.compare_exchange_strong(none, forbidden) && none != forbidden)
        return fail(Errno::busy);
    return {};
}

void uvm_object::add_shadow(amap_shadow& shadow) {
    lock_guard guard(shadows_lock_);
    shadows_.push_back(shadow);
}

void uvm_object::remove_shadow(amap_shadow& shadow) {
    lock_guard guard(shadows_lock_);
    shadows_.remove(shadow);
}

// ---- Objects that are never out --------------------------------------------------------------

status uvm_object::bring_in(uint64_t, bool, page_in&) { return {}; }
void uvm_object::page_came(vm_page&, swap_slot, const status&, bool) { ASSERT(false); }
bool uvm_object::page_went(vm_page&, swap_slot) { ASSERT(false); }
status uvm_object::leave_swap(uint64_t, swap_slot, page_in&) { ASSERT(false); }
status uvm_object::read_home(uint64_t, std::span<vm_page* const>) { ASSERT(false); }
status uvm_object::make_ready(uint64_t, uint64_t) { return {}; }
bool uvm_object::leave_memory(vm_page&) { ASSERT(false); }
bool uvm_object::write_out(uint64_t) { ASSERT(false); }

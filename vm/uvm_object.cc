// What an object knows of the private copies of its pages, and of who stores into them.
#include "vm/uvm_object.h"

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

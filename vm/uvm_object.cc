// From an object to the private copies of its pages.
#include "vm/uvm_object.h"

#include "lib/long_work.h"
#include "vm/vm_amap.h"

#include <algorithm>

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

// An amap stays on the list while it is referenced, so that the walk goes on from one that it
// holds. One that is made meanwhile comes last, and is reached too.
void uvm_object::drop_private_copies(uint64_t first) {
    ref_ptr<vm_amap> amap;
    for (;;) {
        ref_ptr<vm_amap> following;
        {
            lock_guard guard(shadows_lock_);
            amap_shadow* s = amap ? shadows_.next(amap->shadow()) : shadows_.front();
            while (s && !(following = ref_ptr<vm_amap>::unless_ending(&s->amap)))
                s = shadows_.next(*s);
        }
        amap = std::move(following);
        if (!amap)
            return;
        long_work::pause();
        auto slot = static_cast<int64_t>(first - amap->shadow().page);
        lock_guard guard(amap->lock());
        amap->wipe_everywhere(static_cast<slot_t>(std::max<int64_t>(slot, 0)));
    }
}

#include "vm/amap_lock.h"

#include "vm/phys/pool.h"

static pool<amap_lock> lock_pool{"amap_lock"};

expected<ref_ptr<amap_lock>> amap_lock::create() {
    amap_lock* lock = lock_pool.create();
    if (!lock)
        return fail(Errno::nomem);
    return ref_ptr<amap_lock>::adopt(lock);
}

void amap_lock::last_reference_gone() { lock_pool.destroy(this); }

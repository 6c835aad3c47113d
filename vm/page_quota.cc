#include "vm/page_quota.h"

#include "vm/phys/pool.h"

static constinit pool<page_quota> quota_pool{"page_quota"};

expected<ref_ptr<page_quota>> page_quota::create(uint64_t limit) {
    page_quota* quota = quota_pool.create(limit);
    if (!quota)
        return fail(Errno::nomem);
    return ref_ptr<page_quota>::adopt(quota);
}

void page_quota::last_reference_gone() {
    ASSERT(look().used == 0);
    quota_pool.destroy(this);
}

status page_quota::take(uint64_t pages) {
    lock_guard guard(lock_);
    if (used_ > limit_ || pages > limit_ - used_)
        return fail(Errno::nospc);
    used_ += pages;
    return {};
}

void page_quota::give_back(uint64_t pages) {
    lock_guard guard(lock_);
    ASSERT(pages <= used_);
    used_ -= pages;
}

status page_quota::set_limit(uint64_t limit) {
    lock_guard guard(lock_);
    if (limit < used_)
        return fail(Errno::inval);
    limit_ = limit;
    return {};
}

page_quota::amounts page_quota::look() const {
    lock_guard guard(lock_);
    return {limit_, used_};
}

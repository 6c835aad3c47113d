#include "vm/uvm_busy.h"

#include "lib/wait_queue.h"
#include "vm/phys/vm_page.h"

namespace {

// Who waits for a busy page, by pages.
struct bucket {
    spin_lock lock{lock_rank::wait, "busy pages"};
    wait_queue waiting GUARDED_BY(lock);
};
constinit bucket buckets[16];

bucket& bucket_of(const vm_page& page) {
    return buckets[(page.physical().value() >> page_shift) % std::size(buckets)];
}

} // namespace

void page_set_busy(vm_page& page) {
    ASSERT(!page.busy && !page.md.mapped() && !page.queued);
    page.wanted = page.released = false;
    page.busy.store(true, std::memory_order_relaxed);
}

// Who has seen that it is busy either finds it idle under the bucket's lock or is woken.
void page_clear_busy(vm_page& page) {
    bucket& b = bucket_of(page);
    lock_guard guard(b.lock);
    page.busy.store(false, std::memory_order_relaxed);
    // Whoever waits for it, also by what it was before: `wanted` may have been forgotten since.
    b.waiting.wake_all();
}

void page_wait_idle(vm_page& page) {
    // It may be anybody's by now, and busy once more: then this waits longer than it must.
    bucket& b = bucket_of(page);
    lock_guard guard(b.lock);
    if (page.busy.load(std::memory_order_relaxed))
        b.waiting.wait(b.lock, "page");
}

// ---- What a thread waits for -----------------------------------------------------------------

void page_in::wait_for(vm_page& busy) {
    busy.wanted = true;
    what_ = waits_for::another;
    add(busy);
}

void page_in::begin(vm_page& page, swap_slot slot, page_owner_lock owner, vm_anon* anon) {
    what_ = waits_for::swap;
    slot_ = slot;
    owner_ = std::move(owner);
    add(page, anon);
}

void page_in::add(vm_page& page, vm_anon* anon) {
    if (anon)
        anons_[count_] = anon;
    pages_[count_++] = &page;
}

void page_in::begin_read(vm_page& page, ref_ptr<uvm_object> owner) {
    what_ = waits_for::home;
    first_ = page.index;
    owner_ = page_owner_lock(std::move(owner));
    add(page);
}

void page_in::make_ready(ref_ptr<uvm_object> owner, uint64_t start, uint64_t end) {
    what_ = waits_for::place;
    first_ = start;
    end_ = end;
    owner_ = page_owner_lock(std::move(owner));
}

#include "vm/uvm_pageout.h"

#include "arch/pmap.h"
#include "lib/long_work.h"
#include "vm/phys/event.h"
#include "vm/phys/pool.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_pager.h"
#include "vm/uvm_pdaemon.h"
#include "vm/uvm_pdpolicy.h"
#include "vm/uvm_vnode.h"
#include "vm/vm_anon.h"

namespace {

page_owner_lock owner_of(const vm_page& page) {
    if (page.owner_kind == page_owner::anon)
        return page_owner_lock(page.anon->lock());
    return page_owner_lock(ref_ptr<uvm_object>::unless_ending(page.object));
}

struct progress {
    uint64_t freed = 0, passed = 0;
};

// Whether a candidate, whose owner is locked, is to go: then it is queued no more.
bool goes(vm_page& page) {
    if (page_out::may_go(page))
        return !uvm_pdpolicy::spares(page, pmap::clear_referenced(page));
    if (pmap::is_wired(page))
        uvm_pdpolicy::rest(page);
    else
        uvm_pdpolicy::skip(page);
    return false;
}

void look_at_next(page_out& out, progress& so_far) {
    uvm_pdpolicy::candidate next = uvm_pdpolicy::next_candidate(owner_of);
    if (!next.page) {
        so_far.passed += next.owner && !uvm_swap::full();
        EVENT(daemon_passed, .pages = bool(next.owner));
        if (next.owner) { // the next page is likely to be his, too
            so_far.freed += out.finish();
            lock_guard wait(next.owner.get());
        }
        return;
    }
    sleep_lock& lock = next.owner.get();
    lock.assert_held();
    const bool stays = !goes(*next.page);
    EVENT(daemon_looked, .page = next.page->physical(), .spared = stays);
    if (!stays)
        so_far.freed += out.take(*next.page, next.owner);
    lock.unlock();
}

} // namespace

// Ends when nothing is left to be looked at: a page that was spared has its bit cleared, and goes
// when its turn comes again; so three rounds show whatever can go, also under a policy that
// looks at some pages more than at others.
bool uvm_pageout_turn(uint64_t target) {
    page_out out;
    EVENT(daemon_woken, .free = vm_page_count_free(), .target = target);
    progress so_far;
    const uint64_t of_pools = pool_base::trim_all(); // what nobody uses goes first
    const uint64_t cached = uvm_vnode::cached_pages();
    for (uint64_t left = 3 * uvm_pdpolicy::queued_pages() + 1; left != 0; left--) {
        if (vm_page_count_free() + out.count() >= target)
            break;
        look_at_next(out, so_far);
        if (out.full())
            so_far.freed += out.finish();
        long_work::pause();
    }
    so_far.freed += out.finish();
    EVENT(daemon_done, .free = vm_page_count_free(), .freed = so_far.freed + of_pools);
    // Whose owner was locked may go the next time. With swap full only what is there already goes, which
    // is what others have just had brought in: that alone is no progress. Nor are the last pages of files.
    const bool of_files = cached > uvm_pdaemon::reserve() && uvm_vnode::cached_pages() < cached;
    return (so_far.freed != 0 && (!uvm_swap::full() || of_files)) || so_far.passed != 0;
}

void uvm_pageout() {
    for (;;) {
        const uint64_t goal = uvm_pdaemon::await_turn();
        uvm_pdaemon::end_turn(uvm_pageout_turn(goal) || vm_page_count_free() >= goal);
    }
}

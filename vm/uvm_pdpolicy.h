// The page daemon's policy: which page goes when memory is short.
//
// After NetBSD's uvmpdpol_ interface: whoever owns a page says when it may be put out (enqueue) and
// when no more (dequeue); the daemon asks for candidates, and shows each one's referenced bit.
// Nothing else of the VM system knows in what order pages go.
//
// The policy that is used is chosen by name (/proc/sys/vm/page_policy). Each is a file of its own,
// behind the interface that vm/uvm_pdpolicy_impl.h draws; here is what they have in common: the lock,
// and that the owner of a candidate is had.
//
// Lock: that of the queue, which ranks behind those of the pages' owners. Who comes from an owner
// waits for it; the daemon, which comes from the queue, only tries the owner's lock.
// A page on the queue keeps its owner: an owner ends after it has dequeued its pages.
#pragma once

#include "lib/lock.h"
#include "lib/no_alloc.h"
#include "lib/ref_ptr.h"
#include "vm/amap_lock.h"
#include "vm/uvm_object.h"

#include <string_view>

struct vm_page;

// The owner of a page, as the page daemon holds it: its lock, and what keeps that.
class page_owner_lock {
public:
    page_owner_lock() = default;
    explicit page_owner_lock(amap_lock& family) : family_(&family) {}
    explicit page_owner_lock(ref_ptr<uvm_object> object) : object_(std::move(object)) {}
    explicit operator bool() const { return family_ || object_; }
    sleep_lock& get() const;
    uvm_object* object() const { return object_.get(); } // null: an anon

private:
    ref_ptr<amap_lock> family_;
    ref_ptr<uvm_object> object_;
};

namespace uvm_pdpolicy {

// Whether pages are queued. Set once, at boot, before there are programs: if there is a disk, which
// may be swapped to one day; what is not queued from its beginning is never found.
extern std::atomic<bool> paging;
inline bool on() { return paging.load(std::memory_order_relaxed); }

// The page may be put out from now on; no more. The owner's lock is held. Both may be said twice.
// `from`: the slot that it has just come from, because somebody wanted it (not one that came along).
NO_ALLOC void enqueue(vm_page& page, swap_slot from = 0);
NO_ALLOC void dequeue(vm_page& page);
// The page, if it is queued, goes before all others that are, unless it is referenced before the
// daemon looks at it: madvise's MADV_COLD. The owner's lock is held, and the referenced bit cleared.
NO_ALLOC void deactivate(vm_page& page);

// A queued page that is found to be wired is queued no more, until somebody unwires it; it is queued
// again, if it was left out so. The owner's lock is held.
NO_ALLOC void rest(vm_page& page);
NO_ALLOC void wake(vm_page& page);

// The next page to look at, and its owner, locked: the caller unlocks it, having said either skip() or
// spares() of the page. No page: there is none, or its owner could not be had at once, and others come
// first. owner_of() is called while the page is on the queue, which keeps its owner; nothing: he is
// ending.
struct candidate {
    vm_page* page = nullptr;
    page_owner_lock owner;
};
candidate next_candidate(page_owner_lock owner_of(const vm_page&)) NO_THREAD_SAFETY_ANALYSIS;
// A candidate cannot go now. Its owner is locked, as for all of these.
void skip(vm_page& page);
// Whether a candidate stays, by whether it was referenced since it was last looked at. If not, it is
// queued no more.
bool spares(vm_page& page, bool referenced);
// A page that was not spared is in its slot, and will be freed.
NO_ALLOC void went(vm_page& page, swap_slot to);

uint64_t queued_pages();

// The policies there are: the n-th one's name, or null. The one that is used.
const char* name(unsigned n);
const char* name();
// EINVAL: there is none of this name. ENOMEM. Sleeps.
status choose(std::string_view name);

} // namespace uvm_pdpolicy

// The page daemon's policy: which page goes when memory is short.
//
// After NetBSD's uvmpdpol_ interface: whoever owns a page says when it may be put out (enqueue) and
// when no more (dequeue); the daemon asks for candidates, and shows each one's referenced bit.
// Nothing else of the VM system knows in what order pages go.
//
//      enqueue ---> [ the policy's pages ] ---> candidate --- spared ---.
//                         ^                         |                   |
//                         '-------------------------+-------------------'
//                                                   '--- goes
//
// The policy that is used is chosen by name (/proc/sys/vm/page_policy): the functions that tell one
// from another stand in uvm_pdpolicy.cc, a few lines each.
//
// Lock: that of the queue, which ranks behind those of the pages' owners. Who comes from an owner
// waits for it; the daemon, which comes from the queue, only tries the owner's lock and passes on.
// A page on the queue keeps its owner: an owner ends after it has dequeued its pages.
#pragma once

#include "lib/lock.h"
#include "lib/no_alloc.h"
#include "lib/ref_ptr.h"
#include "vm/amap_lock.h"
#include "vm/uvm_object.h"

#include <span>

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
NO_ALLOC void enqueue(vm_page& page);
NO_ALLOC void dequeue(vm_page& page);

// The next page to look at, taken from the queue, and its owner, locked: the caller unlocks it. No
// page: there is none, or its owner could not be had at once, and it has gone to the end. owner_of()
// is called while the page is on the queue, which keeps its owner; nothing: he is ending.
struct candidate {
    vm_page* page = nullptr;
    page_owner_lock owner;
};
candidate next_candidate(page_owner_lock owner_of(const vm_page&)) NO_THREAD_SAFETY_ANALYSIS;
// Whether a candidate stays, by whether it was referenced since it was last looked at. Its owner is
// locked.
bool spares(bool referenced);

uint64_t queued_pages();

// The policies there are, by name.
std::span<const char* const> names();
const char* name();
// EINVAL: there is none of this name.
status choose(const char* name);

} // namespace uvm_pdpolicy

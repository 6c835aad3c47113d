// uvm_object: a source of pages that can be mapped: anonymous shared memory, files, devices.
//
// Reference counted; a map entry holds a reference, so do files and inodes. Pages found in it are
// owned by it. Lock order: vm_map > vm_amap > uvm_object > ... (lib/lock_rank.h).
#pragma once

#include "lib/list.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"
#include "lib/serial.h"
#include "vm/snapshot_mark.h"
#include "vm/uvm_swap.h"

#include <span>

class page_in;
class uvm_object;
class vm_amap;
struct vm_page;

// An amap's place on the list of the object that its anons hide pages of: what private mappings of
// the object have written. Owned by the amap.
struct amap_shadow {
    amap_shadow(vm_amap& a, uvm_object* below, uint64_t first)
        : amap(a), object(below), page(first) {}
    vm_amap& amap;
    uvm_object* const object; // null: there is nothing below
    const uint64_t page;      // the object's page under slot 0 (modulo 2^64)
    list_node on_object;
};

class uvm_object : public ref_counted<uvm_object> {
public:
    static constexpr auto end_takes = lock_rank::uvm_object;
    virtual ~uvm_object() = default;
    virtual void last_reference_gone() = 0;

    // The pager's get: the page at page number `index`, made if need be. Caller holds lock(). The
    // page is valid while the lock is held. Errors: fault beyond the end (the faulting program gets
    // SIGBUS), nomem; again: it is not in memory, and bring_in() has to come first. Does not sleep.
    // `write`: the page is about to be written through a shared mapping.
    virtual expected<vm_page*> get(uint64_t index, bool write) REQUIRES(lock_) = 0;
    // What get() wants first, begun: as vm_anon::bring_in().
    virtual status bring_in(uint64_t index, bool write, page_in& later) REQUIRES(lock_);
    // For the pager, which has moved a page of its; and for swapoff: as vm_anon's. Of objects whose
    // pages are queued for the page daemon. A page that is in memory has no slot.
    virtual void page_came(vm_page& page, swap_slot slot, const status& read, bool wanted)
        REQUIRES(lock_);
    virtual bool page_went(vm_page& page, swap_slot slot) REQUIRES(lock_);
    virtual status leave_swap(uint64_t index, swap_slot slot, page_in& later) REQUIRES(lock_);
    // The page only if it is resident: for fault-ahead and mincore.
    virtual vm_page* lookup(uint64_t index) REQUIRES(lock_) = 0;
    // The first resident page from `index` on: sets `index` to it. Null when there is none. For
    // snapshots: nothing changes meanwhile.
    virtual vm_page* resident_from(uint64_t& index) const {
        (void)index;
        return nullptr;
    }
    // The first resident page from `index` on and before `end`: sets `index` to it. Null when there
    // is none.
    virtual vm_page* next_resident(uint64_t& index, uint64_t end) REQUIRES(lock_) = 0;
    // A map entry refers to the object from now on, or does so no more (pgo_reference and
    // pgo_detach of uvm(9)). `storing`: it may be stored into through it, now or after mprotect.
    // Sleep locks may be held.
    void mapped(bool storing) {
        map_entries_.fetch_add(1, std::memory_order_relaxed);
        storing_.fetch_add(storing);
    }
    void unmapped(bool storing) {
        storing_.fetch_sub(storing);
        map_entries_.fetch_sub(1, std::memory_order_relaxed);
        detached();
    }
    // Before the first entry of a mapping that may store, until it is there. EPERM: it is
    // forbidden.
    status begin_storing();
    void end_storing() { storing_.fetch_sub(1); }
    // There will never be such a mapping (F_SEAL_WRITE). EBUSY: there is one.
    status forbid_storing();
    uint64_t map_entries() const { return map_entries_.load(std::memory_order_relaxed); }
    // The first page from `index` on and before `end` that there is, but not in memory: sets `index`
    // to it. False when there is none.
    virtual bool next_out(uint64_t& index, uint64_t end) REQUIRES(lock_) {
        (void)index;
        (void)end;
        return false;
    }
    // Whether its pages go back to where they came from when memory is short, and never to swap
    // (vm/uvm_vnode.h). For the pager, of such objects, without locks: reads pages; makes [start, end),
    // bytes of one page, ready to be stored into.
    virtual bool has_home() const { return false; }
    virtual status read_home(uint64_t first, std::span<vm_page* const> pages);
    virtual status make_ready(uint64_t start, uint64_t end);
    // For the page daemon. The page, which is on no queue, has no mapping and is not wired, is freed; or,
    // if it has to be written first, not: false. Then write_out() writes it, without locks, with others
    // beside it, and frees it, if it is still there and nobody wants it: whether.
    virtual bool leave_memory(vm_page& page) REQUIRES(lock_);
    virtual bool write_out(uint64_t index);
    // Writes dirty pages in [first, last) back to where they came from (msync), and sees to it that
    // the next store to one of them is heard of (uvm_handle::stored).
    virtual status put(uint64_t first, uint64_t last) {
        (void)first;
        (void)last;
        return {};
    }
    // What it holds, in bytes, for each of those with whom that comes free: nothing of a file whose
    // file system has a limit. As seen, without a lock.
    virtual uint64_t share() const { return 0; }
    // Whether whoever maps it must hold an open file meanwhile.
    virtual bool needs_handle() const { return false; }
    // Size in bytes as stat(2) would say; pages past it fault.
    virtual uint64_t size() const = 0;
    // What /proc/PID/maps prints: the path of a file, "/dev/zero (deleted)", ... Empty for none.
    virtual const char* name() const { return ""; }
    // For people: "file", "anon" or "device".
    virtual const char* kind() const { return "device"; }
    virtual uint64_t device() const { return 0; }
    virtual uint64_t inode() const { return 0; }

    const vm_serial serial;
    snapshot_mark mark GUARD_UNCHECKED("the machine stands still");

    sleep_lock& lock() RETURN_CAPABILITY(lock_) { return lock_; }

    // Private copies of the object's pages. Every amap below which the object lies is listed while
    // it exists; nobody needs to hold a reference for that, since an amap goes before the map
    // entries that refer to both.
    void add_shadow(amap_shadow& shadow);
    void remove_shadow(amap_shadow& shadow);
    // Takes the copies of the pages from `first` on from everybody: what Linux does for a truncated
    // file. The pages themselves are gone, so that none is copied any more. No VM lock is held.
    // (vm/vm_amap.cc)
    void drop_private_copies(uint64_t first);

protected:
    virtual void detached() {}
    sleep_lock lock_{lock_rank::uvm_object, "uvm_object"};

private:
    std::atomic<uint64_t> map_entries_{0};
    std::atomic<int64_t> storing_{0}; // those that may store; negative: forbidden
    spin_lock shadows_lock_{lock_rank::vm_shadows, "uvm_object shadows"};
    list<amap_shadow, &amap_shadow::on_object> shadows_ GUARDED_BY(shadows_lock_);
};

// uvm_object: a source of pages that can be mapped: anonymous shared memory, files, devices.
//
// Reference counted; a map entry holds a reference, so do files and inodes. Pages found in it are
// owned by it. Lock order: vm_map > vm_amap > uvm_object > ... (lib/lock_rank.h).
#pragma once

#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"
#include "vm/snapshot_mark.h"
#include "vm/vm_page.h"

class uvm_object : public ref_counted<uvm_object> {
public:
    virtual ~uvm_object() = default;
    virtual void last_reference_gone() = 0;

    // The pager's get: the page at page number `index`, made resident if need be. Caller holds
    // lock(). `page` is valid while the lock is held. Errors: fault beyond the end (the faulting
    // program gets SIGBUS), nomem, io. May sleep (the lock is kept). `write`: the page is about to
    // be written through a shared mapping.
    virtual expected<vm_page*> get(uint64_t index, bool write) REQUIRES(lock_) = 0;
    // The page only if it is resident: for fault-ahead and mincore.
    virtual vm_page* lookup(uint64_t index) REQUIRES(lock_) = 0;
    // The first resident page from `index` on: sets `index` to it. Null when there is none. For
    // snapshots: nothing changes meanwhile.
    virtual vm_page* resident_from(uint64_t& index) const {
        (void)index;
        return nullptr;
    }
    // Writes dirty pages in [first, last) back to where they came from (msync); nothing for
    // memory-backed objects.
    virtual status put(uint64_t first, uint64_t last) {
        (void)first;
        (void)last;
        return {};
    }
    // Size in bytes as stat(2) would say; pages past it fault.
    virtual uint64_t size() const = 0;
    // What /proc/PID/maps prints: the path of a file, "/dev/zero (deleted)", ... Empty for none.
    virtual const char* name() const { return ""; }
    // For people: "file", "anon" or "device".
    virtual const char* kind() const { return "device"; }
    virtual uint64_t device() const { return 0; }
    virtual uint64_t inode() const { return 0; }

    snapshot_mark mark;

    sleep_lock& lock() RETURN_CAPABILITY(lock_) { return lock_; }

protected:
    sleep_lock lock_{lock_rank::uvm_object, "uvm_object"};
};

// uvm_handle: what an object was mapped through: an open file.
//
// Every map entry of the mapping refers to it, and whatever it claims (write access to the file, its
// locks, the mount that the file is on) stays claimed until the last of them is gone. vm/ counts the
// references and tells it of stores.
#pragma once

#include "lib/ref_ptr.h"
#include "lib/result.h"

class uvm_handle : public ref_counted<uvm_handle> {
public:
    static constexpr auto end_takes = lock_rank::pipe; // an open pipe: it has one end less
    virtual ~uvm_handle() = default;
    virtual void last_reference_gone() = 0; // no VM lock is held
    // A fault has just made a page of a shared mapping writable. The object is locked, the map for
    // reading: it may neither fault nor sleep.
    virtual void stored() {}
    // msync(MS_SYNC) has put pages that were stored into (uvm_object::put), with this result: what it
    // returns to the program. No VM lock is held.
    virtual status synced(status put) { return put; }
    // Whether the caller may have the file's pages put out (MADV_PAGEOUT), which tells him which of
    // them others use. Sleeps.
    virtual bool may_put_out() { return true; }
};

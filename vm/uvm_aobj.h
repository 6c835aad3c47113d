// uvm_aobj: memory-backed object, a sparse array of zero-filled pages: shared anonymous memory
// (MAP_SHARED|MAP_ANONYMOUS, memfd, System V) and the contents of tmpfs files. read(2), write(2)
// and mmap(2) of one file use the same pages here.
#pragma once

#include "vm/sparse_slots.h"
#include "vm/uvm_object.h"

#include <atomic>

class uvm_aobj;

// A page pinned against truncation and reuse while somebody copies to or from it without the
// object's lock.
class held_page {
public:
    held_page() = default;
    held_page(ref_ptr<uvm_aobj> object, vm_page* page);
    held_page(held_page&&) noexcept;
    held_page& operator=(held_page&&) noexcept;
    ~held_page();
    explicit operator bool() const { return page_ != nullptr; }
    char* data() const;
    vm_page* page() const { return page_; }

private:
    ref_ptr<uvm_aobj> object_;
    vm_page* page_ = nullptr;
};

class uvm_aobj : public uvm_object {
public:
    // `charge`: the pages are charged to the commit account as they are promised (anonymous shared
    // memory: size; files: none).
    static expected<ref_ptr<uvm_aobj>> create(uint64_t size, const char* name, bool charge);

    // Pins the page at `index`: for reading a hole gives an empty held_page (read it as zeros);
    // with `for_write` the page is made. fault beyond the last page of size(); nomem. Sleeps on the
    // object lock; call it without spin locks.
    expected<held_page> hold(uint64_t index, bool for_write);
    // Sets the size in bytes. Shrinking unmaps and frees the pages past it from every mapping, with
    // what private mappings have made of them, and zeroes the rest of the last page; growing reads
    // as zeros. ENOMEM (only when charged). Callers take turns; no VM lock is held.
    status resize(uint64_t size);
    // What /proc/PID/maps shows; the string is copied (truncated at 63 characters).
    void set_identity(const char* name, uint64_t device, uint64_t inode);
    uint64_t resident_pages() const;

    void last_reference_gone() override;
    expected<vm_page*> get(uint64_t index, bool write) override REQUIRES(lock_);
    vm_page* lookup(uint64_t index) override REQUIRES(lock_);
    vm_page* resident_from(uint64_t& index) const override;
    vm_page* next_resident(uint64_t& index, uint64_t end) override REQUIRES(lock_);
    status put(uint64_t first, uint64_t last) override;
    uint64_t size() const override;
    const char* name() const override;
    const char* kind() const override;
    uint64_t device() const override;
    uint64_t inode() const override;
    // Panics unless every page in it says that it belongs here and the counts agree.
    void check();

    uvm_aobj(uint64_t size, const char* name, bool charged);
    ~uvm_aobj() override;

private:
    friend class held_page;

    expected<vm_page*> page_at(uint64_t index, bool make) REQUIRES(lock_);
    void free_pages_from(uint64_t index) REQUIRES(lock_);
    status resize_locked(uint64_t size) REQUIRES(lock_);
    void let_go(vm_page* page);

    static constexpr size_t name_size = 64;

    sparse_slots pages_ GUARDED_BY(lock_);   // of vm_page*
    std::atomic<uint64_t> size_;             // bytes; changed under lock_
    uint64_t orphans_ GUARDED_BY(lock_) = 0; // truncated while held; freed by let_go()
    const bool charged_;                     // pages_of(size_) are in the commit account
    char name_[name_size];                   // set before the object is shared
    uint64_t device_ = 0, inode_ = 0;        // likewise
};

// uvm_aobj: memory-backed object, a sparse array of zero-filled pages: shared anonymous memory
// (MAP_SHARED|MAP_ANONYMOUS, memfd, System V) and the contents of tmpfs files. read(2), write(2)
// and mmap(2) of one file use the same pages here.
#pragma once

#include "vm/page_quota.h"
#include "vm/uvm_pages.h"

class uvm_aobj : public uvm_pages {
public:
    // What the commit account is charged: nothing; the whole size, as it is promised (anonymous
    // shared memory); or each page as it is made, which may fail with nospc then (files, and
    // anonymous memory for which no promise was wanted).
    enum class charging : uint8_t { nothing, size, pages };
    // `quota` (files): that is taken from for each page, too.
    static expected<ref_ptr<uvm_aobj>> create(uint64_t size, const char* name, charging how,
                                              ref_ptr<page_quota> quota = {});

    // No grow() of an object that is charged for its size.
    void grow(uint64_t size) override;
    void trim() override;
    // Makes the pages of [first, end), beyond the end too, without a content. Either all are there
    // or none has been made: nospc, nomem, and intr when the caller is killed. As grow().
    status allocate(uint64_t first, uint64_t end) override;
    // Bytes [start, end) read as zeros from now on; whole pages are freed, also where they are
    // mapped. EIO, ENOMEM, EINTR: what is left of a page at the edge could not be had from swap, and
    // nothing has changed.
    status punch(uint64_t start, uint64_t end) override;
    uint64_t next(contents wanted, uint64_t offset) override;
    // ENOMEM when charged, too.
    status resize(uint64_t size) override;
    // Where the page is, if it is nowhere but in swap; or 0.
    swap_slot slot_of(uint64_t index) const REQUIRES(lock_) { return at(index).slot(); }
    static uint64_t charged_pages(); // what the commit account is charged for all of them
    bool charged_by_size() const { return charging_ == charging::size; }
    bool charged_by_pages() const { return charging_ == charging::pages; }

    void last_reference_gone() override;
    expected<vm_page*> get(uint64_t index, bool write) override REQUIRES(lock_);
    status bring_in(uint64_t index, bool write, page_in& later) override REQUIRES(lock_);
    bool next_out(uint64_t& index, uint64_t end) override REQUIRES(lock_);
    status put(uint64_t first, uint64_t last) override;
    uint64_t share() const override;
    bool needs_handle() const override { return bool(quota_); }
    void page_came(vm_page& page, swap_slot slot, const status& read, bool wanted) override
        REQUIRES(lock_);
    bool page_went(vm_page& page, swap_slot slot) override REQUIRES(lock_);
    status leave_swap(uint64_t index, swap_slot slot, page_in& later) override REQUIRES(lock_);

    // Panics unless every page in it says that it belongs here and the counts agree.
    void check();

    uvm_aobj(uint64_t size, const char* name, charging how, ref_ptr<page_quota> quota = {});
    ~uvm_aobj() override;

private:
    // For pages that are counted one by one, if they are. ENOSPC.
    status charge_pages(uint64_t pages);
    void uncharge_pages(uint64_t pages);
    expected<vm_page*> make_page(uint64_t index) REQUIRES(lock_);
    vm_page* make_room(uint64_t index, bool clean) REQUIRES(lock_);
    expected<vm_page*> page_at(uint64_t index, bool make) REQUIRES(lock_);
    void remove_page(uint64_t index) REQUIRES(lock_);
    template <class Wanted>
    void free_pages(uint64_t first, uint64_t end, Wanted wanted) REQUIRES(lock_);
    template <class Change> status with_edges(uint64_t start, uint64_t end, Change change);
    status resize_locked(uint64_t size) REQUIRES(lock_);
    expected<held_page> try_hold(wanted_bytes& bytes, page_in& later) override;

    uvm_swap::read_ahead ahead_ GUARDED_BY(lock_);
    const charging charging_;         // what of it is in the commit account
    const ref_ptr<page_quota> quota_; // the pages that there are; null unless a file
};

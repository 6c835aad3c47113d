// uvm_aobj: memory-backed object, a sparse array of zero-filled pages: shared anonymous memory
// (MAP_SHARED|MAP_ANONYMOUS, memfd, System V) and the contents of tmpfs files. read(2), write(2)
// and mmap(2) of one file use the same pages here.
#pragma once

#include "vm/page_quota.h"
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
    // What the commit account is charged: nothing; the whole size, as it is promised (anonymous
    // shared memory); or each page as it is made, which may fail with nospc then (files, and
    // anonymous memory for which no promise was wanted).
    enum class charging : uint8_t { nothing, size, pages };
    // `quota` (files): that is taken from for each page, too.
    static expected<ref_ptr<uvm_aobj>> create(uint64_t size, const char* name, charging how,
                                              ref_ptr<page_quota> quota = {});

    // Pins the page at `index`. read: a hole gives an empty held_page (read it as zeros). write:
    // the page is made. fault beyond the last page of size(). extend: as write, and the page may
    // lie beyond the end: nobody sees what is put there until grow(). nomem, nospc. Sleeps on the
    // object lock; call it without spin locks.
    enum class purpose : uint8_t { read, write, extend };
    expected<held_page> hold(uint64_t index, purpose what_for);
    // What lies before `size` is there and belongs to the object. Callers take turns, with resize()
    // too; the object is not charged for its size.
    void grow(uint64_t size);
    // Frees what was written past the end: a write that stopped has no use for it.
    void trim();
    // Makes the pages of [first, end), beyond the end too, without a content. Either all are there
    // or none has been made: nospc, nomem, and intr when the caller is killed. As grow().
    status allocate(uint64_t first, uint64_t end);
    // Bytes [start, end) read as zeros from now on; whole pages are freed, also where they are
    // mapped. EIO, ENOMEM, EINTR: what is left of a page at the edge could not be had from swap, and
    // nothing has changed.
    status punch(uint64_t start, uint64_t end);
    // The next byte from `offset` on, which lies before the end, that has been written, or that has
    // not. The end of the object if there is none.
    enum class contents : uint8_t { data, hole };
    uint64_t next(contents wanted, uint64_t offset);
    // Sets the size in bytes. Shrinking unmaps and frees the pages past it from every mapping, with
    // what private mappings have made of them, and zeroes the rest of the last page; growing reads
    // as zeros. ENOMEM (when charged, or as punch()), EIO, EINTR. Callers take turns; no VM lock is
    // held.
    status resize(uint64_t size);
    // What /proc/PID/maps shows; the string is copied (truncated at 63 characters).
    void set_identity(const char* name, uint64_t device, uint64_t inode);
    uint64_t resident_pages() const;
    // Where the page is, if it is nowhere but in swap; or 0.
    swap_slot slot_of(uint64_t index) const REQUIRES(lock_) { return at(index).slot(); }
    static uint64_t charged_pages(); // what the commit account is charged for all of them
    bool charged_by_size() const { return charging_ == charging::size; }
    bool charged_by_pages() const { return charging_ == charging::pages; }

    void last_reference_gone() override;
    expected<vm_page*> get(uint64_t index, bool write) override REQUIRES(lock_);
    vm_page* lookup(uint64_t index) override REQUIRES(lock_);
    vm_page* resident_from(uint64_t& index) const override;
    vm_page* next_resident(uint64_t& index, uint64_t end) override REQUIRES(lock_);
    status bring_in(uint64_t index, page_in& later) override REQUIRES(lock_);
    bool next_swapped(uint64_t& index, uint64_t end) override REQUIRES(lock_);
    status put(uint64_t first, uint64_t last) override;
    uint64_t share() const override;
    bool needs_handle() const override { return bool(quota_); }
    uint64_t size() const override;
    const char* name() const override;
    const char* kind() const override;
    uint64_t device() const override;
    uint64_t inode() const override;
    void page_came(vm_page& page, swap_slot slot, const status& read, bool wanted) override
        REQUIRES(lock_);
    bool page_went(vm_page& page, swap_slot slot) override REQUIRES(lock_);
    status leave_swap(uint64_t index, swap_slot slot, page_in& later) override REQUIRES(lock_);

    // Panics unless every page in it says that it belongs here and the counts agree.
    void check();

    uvm_aobj(uint64_t size, const char* name, charging how, ref_ptr<page_quota> quota = {});
    ~uvm_aobj() override;

private:
    friend class held_page;

    // What there is of a page: in memory, busy too; or in a slot. The word that pages_ has for it.
    class place {
    public:
        explicit place(void* word) : word_(reinterpret_cast<uintptr_t>(word)) {}
        place(swap_slot slot, bool clean) : word_(uintptr_t{slot} << 2 | clean << 1 | 1) {}
        void* word() const { return reinterpret_cast<void*>(word_); }
        explicit operator bool() const { return word_ != 0; }
        vm_page* page() const { return word_ & 1 ? nullptr : reinterpret_cast<vm_page*>(word_); }
        vm_page* in_memory() const; // and not on its way
        swap_slot slot() const { return word_ & 1 ? swap_slot(word_ >> 2) : 0; }
        bool clean() const; // vm_page::clean

    private:
        uintptr_t word_;
    };
    place at(uint64_t index) const REQUIRES(lock_) { return place(pages_.get(index)); }
    // The first one from `index` on.
    place next_place(uint64_t& index, uint64_t end) const REQUIRES(lock_) {
        return place(pages_.find_from(index, end));
    }

    // For pages that are counted one by one, if they are. ENOSPC.
    status charge_pages(uint64_t pages);
    void uncharge_pages(uint64_t pages);
    expected<vm_page*> make_page(uint64_t index) REQUIRES(lock_);
    vm_page* make_room(uint64_t index, bool clean) REQUIRES(lock_);
    expected<vm_page*> page_at(uint64_t index, bool make) REQUIRES(lock_);
    void remove_page(uint64_t index) REQUIRES(lock_);
    template <class Wanted>
    void free_pages(uint64_t first, uint64_t end, Wanted wanted) REQUIRES(lock_);
    void zero(uint64_t start, uint64_t end) REQUIRES(lock_);
    template <class Change> status with_edges(uint64_t start, uint64_t end, Change change);
    status resize_locked(uint64_t size) REQUIRES(lock_);
    expected<held_page> try_hold(uint64_t index, purpose what_for, page_in& later);
    void let_go(vm_page* page);
    void free_orphan(vm_page& page) REQUIRES(lock_);

    static constexpr size_t name_size = 64;

    sparse_slots pages_ GUARDED_BY(lock_);   // of places
    std::atomic<uint64_t> size_;             // bytes; changed under lock_
    uint64_t orphans_ GUARDED_BY(lock_) = 0; // truncated while held; freed by let_go()
    uvm_swap::read_ahead ahead_ GUARDED_BY(lock_);
    const charging charging_;         // what of it is in the commit account
    const ref_ptr<page_quota> quota_; // the pages that there are; null unless a file
    char name_[name_size];            // set before the object is shared
    uint64_t device_ = 0, inode_ = 0; // likewise
};

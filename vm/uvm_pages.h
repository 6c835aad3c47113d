// uvm_pages: an object with a size in bytes and pages of its own, which are read and written without
// a mapping, too: what read(2), write(2), mmap(2) and exec of one file share.
//
//     uvm_object
//         uvm_pages            held pages, resident pages, a name
//             uvm_aobj         memory alone: pages that are short of memory go to swap
//             uvm_vnode        pages that have a home on a disk
#pragma once

#include "vm/sparse_slots.h"
#include "vm/uvm_object.h"

#include <atomic>

class uvm_pages;

// POSIX_FADV_*, by Linux's numbers.
enum class file_advice : uint8_t { normal, random, sequential, will_need, dont_need, no_reuse };

// A page pinned against truncation, reuse and the page daemon while somebody copies to or from it
// without the object's lock.
class held_page {
public:
    held_page() = default;
    held_page(ref_ptr<uvm_pages> object, vm_page* page, bool writes = false);
    held_page(held_page&&) noexcept;
    held_page& operator=(held_page&&) noexcept;
    ~held_page();
    explicit operator bool() const { return page_ != nullptr; }
    char* data() const;
    vm_page* page() const { return page_; }
    // These sectors of a page that is held to be written are newer than the disk, now and until the hold
    // ends.
    NO_ALLOC void make_dirty(uint8_t sectors);

private:
    ref_ptr<uvm_pages> object_;
    vm_page* page_ = nullptr;
    bool writes_ = false;
};

class uvm_pages : public uvm_object {
public:
    // Pins the page that [start, start + size) lies in. read: a hole may give an empty held_page (read
    // it as zeros). write: the page is made. extend: as write, and the page may lie beyond the end:
    // nobody sees what is put there until grow(). For those who say themselves what they have written
    // (held_page::make_dirty): change is as write; replace, too, and nothing is kept of what is in the
    // range. fault beyond the last page of size(). nomem, nospc, io; intr when the caller is killed.
    // Sleeps; no VM lock is held.
    enum class purpose : uint8_t { read, write, extend, change, replace };
    expected<held_page> hold_bytes(uint64_t start, uint64_t size, purpose what_for);
    // The same, of the whole page at `index`.
    expected<held_page> hold(uint64_t index, purpose what_for) {
        return hold_bytes(index << page_shift, page_size, what_for);
    }
    // Before each hold to write, by who can wait: it may take its share of work that is behind.
    virtual void before_write() {}
    // What lies before `size` is there and belongs to the object. Callers take turns, with resize()
    // too.
    virtual void grow(uint64_t size) = 0;
    // Frees what was written past the end: a write that stopped has no use for it.
    virtual void trim() = 0;
    // Sets the size in bytes. Shrinking unmaps and frees the pages past it from every mapping, with
    // what private mappings have made of them, and zeroes the rest of the last page; growing reads
    // as zeros. ENOMEM, EIO, EINTR. Callers take turns; no VM lock is held.
    virtual status resize(uint64_t size) = 0;
    // What fallocate(2) does, by pages and by bytes: EOPNOTSUPP where it cannot be done.
    virtual status allocate(uint64_t first, uint64_t end);
    virtual status punch(uint64_t start, uint64_t end);
    // The next byte from `offset` on, which lies before the end, that has been written, or that has
    // not. The end of the object if there is none. For one who does not know, all is data.
    enum class contents : uint8_t { data, hole };
    virtual uint64_t next(contents wanted, uint64_t offset);

    // Writes what is dirty of pages [first, end) back to where they came from, and waits. EIO ENOMEM EINTR.
    virtual status flush(uint64_t first, uint64_t end) {
        (void)first;
        (void)end;
        return {};
    }
    // Errors of writes, each told once to everybody who began to look before it, and to the next who does
    // if nobody has been told (Linux's errseq_t). seen_errors() is where one begins. EIO.
    virtual uint32_t seen_errors() const { return 0; }
    virtual status check_errors(std::atomic<uint32_t>& seen) {
        (void)seen;
        return {};
    }
    // posix_fadvise(2), of pages [first, end). EINTR.
    virtual status advise(uint64_t first, uint64_t end, file_advice advice) {
        (void)first;
        (void)end;
        (void)advice;
        return {};
    }

    // What /proc/PID/maps shows; the string is copied (truncated at 63 characters).
    void set_identity(const char* name, uint64_t device, uint64_t inode);
    uint64_t resident_pages() const;

    vm_page* lookup(uint64_t index) override REQUIRES(lock_);
    vm_page* resident_from(uint64_t& index) const override;
    vm_page* next_resident(uint64_t& index, uint64_t end) override REQUIRES(lock_);
    uint64_t size() const override { return size_.load(std::memory_order_acquire); }
    const char* name() const override { return name_; }
    const char* kind() const override { return inode_ ? "file" : "anon"; }
    uint64_t device() const override { return device_; }
    uint64_t inode() const override { return inode_; }

protected:
    friend class held_page;
    explicit uvm_pages(uint64_t size) : size_(size) {}
    ~uvm_pages() override { ASSERT(orphans_ == 0); }

    // What there is of a page: in memory, busy too; or in a slot of swap. The word that pages_ has for it.
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
    // For hold_bytes(): pins it, unless something has to be had first (`later`): EAGAIN.
    struct wanted_bytes {
        uint64_t start, end;
        purpose what_for;
        bool urgent = false; // not to wait for memory
        uint64_t index() const { return start >> page_shift; }
        bool writes() const { return what_for != purpose::read; }
    };
    virtual expected<held_page> try_hold(wanted_bytes& bytes, page_in& later) = 0;
    expected<held_page> hold_all(wanted_bytes bytes);
    // A page of the object that was held to be written is held by one less; sectors of it are dirty.
    virtual void written(vm_page& page) REQUIRES(lock_);
    virtual void make_held_dirty(vm_page& page, uint8_t sectors) REQUIRES(lock_);
    void let_go(vm_page* page, bool wrote);
    // Takes a page that is not on its way from everybody: it is freed, by let_go() if it is held.
    void free_page(vm_page& page) REQUIRES(lock_);
    void free_orphan(vm_page& page) REQUIRES(lock_);
    // [start, end) lies within one page.
    void zero(uint64_t start, uint64_t end) REQUIRES(lock_);

    sparse_slots pages_ GUARDED_BY(lock_); // of places
    std::atomic<uint64_t> size_;           // bytes; changed under lock_
    uint64_t orphans_ GUARDED_BY(lock_) =
        0; // truncated while held or busy; freed by let_go() or who moves them

private:
    static constexpr size_t name_size = 64;
    char name_[name_size] = {};       // set before the object is shared
    uint64_t device_ = 0, inode_ = 0; // likewise
};

// uvm_vnode: an object whose pages have a home on a disk: the contents of a file, or of a disk itself.
//
// After NetBSD's uvn and genfs_getpages/putpages. read(2), write(2), mmap(2) and exec share its pages,
// and a file system keeps its metadata in that of its disk (kernel/fs/buffer.h). Where pages lie knows
// the page_store; what of them is in memory, and what of that is newer than the disk, is here.
//
//             bring_in / hold            store: a fault, write(2), a buffer
//     absent ----------------->  clean  --------------------------------->  dirty
//        ^      read_pages         |  ^                                     |   ^
//        |                         |  |          end, nothing new           v   | a store meanwhile,
//        +-------------------------+  +---------------------------------- writing  or EIO
//             page daemon, resize                 write_pages
//
// A page that is read is busy (vm/uvm_busy.h). One that is written is not: it stays mapped for
// reading, and who stores into it makes it dirty again; but it is pinned, and resize() waits for it,
// so that no write is under way to a place that is given to another. Before it is written, the right
// to store is taken from every pmap; before that right is given, the page is dirty, and has a place to
// be written to (allocate). So writing it later needs no memory and no space.
//
// Who dirties pages faster than the disk takes them writes some himself: limit_dirty().
//
// Locks: the object's; a spin lock for who waits for a write; and one, of rank dirty_objects, for the list
// of all objects that have dirty pages. While an object is on that, its store is kept. No lock of these is
// held when the store is called.
#pragma once

#include "vm/uvm_busy.h"
#include "vm/uvm_pages.h"

#include <span>

// Who knows where an object's pages are. It outlives the object's retire(), and is called without locks
// of rank vm_map or behind it. vnode::lock() may be held: it takes none of rank vnode or before.
class page_store {
public:
    // A page to be written, and which of its sectors of 512 bytes: bit 0 is the first.
    struct dirty_page {
        vm_page* page;
        uint8_t sectors;
    };
    static constexpr uint8_t whole_page = 0xff;

    // Fills pages [first, first + n) of the object; holes and what lies past its end with zeros. Sleeps.
    // EIO; ENOMEM: not now.
    virtual status read_pages(uint64_t first, std::span<vm_page* const> pages) = 0;
    // Writes them to places that there are: allocate() was called for what is dirty, and what has no
    // place lies past the end. Sleeps, and allocates nothing that it could wait for. EIO; ENOMEM: not
    // now. When it returns, the disk has done with the pages.
    virtual status write_pages(uint64_t first, std::span<const dirty_page> pages) = 0;
    // Bytes [start, end), of one page, are about to be stored into: they have a place from now on. May be
    // called again for what has one. Sleeps. ENOSPC EDQUOT EIO EROFS ENOMEM.
    virtual status allocate(uint64_t start, uint64_t end) = 0;
    // The object has dirty pages from now on, and the store stays; has none any more. keep() is called
    // with the object locked, let_go() without a lock.
    virtual void keep() {}
    virtual void let_go() {}

protected:
    ~page_store() = default;
};

class uvm_vnode final : public uvm_pages {
public:
    static constexpr unsigned cluster = page_in::most; // pages that are read or written at once

    // `placed`: all of it has a place on the disk, so that allocate() need not be asked.
    static expected<ref_ptr<uvm_vnode>> create(page_store& store, uint64_t size,
                                               bool placed = false); // ENOMEM
    // The store ends. Nobody maps the object or holds a page. Waits for what is under way, and forgets
    // all pages, dirty ones, too.
    void retire();

    // As hold_bytes(), by who holds locks that others may need to free memory: has what is the kernel's
    // own (vm/uvm_pdaemon.h), and does not wait for more: ENOMEM.
    expected<held_page> hold_now(uint64_t start, uint64_t size, purpose what_for);
    // EIO: some could not be written, and is dirty still. What belongs to the object when it is called;
    // and waits for what others write of it. No VM lock is held.
    status flush(uint64_t first, uint64_t end) override {
        return flush_pages(first, end, true, UINT64_MAX).result;
    }
    status flush() { return flush(0, UINT64_MAX); }
    // The same, for what must be done to the end: also when its caller is to die.
    status flush_whole(uint64_t first = 0, uint64_t end = UINT64_MAX) {
        return flush_pages(first, end, true, UINT64_MAX, true).result;
    }
    // What is in bytes [start, end), whole sectors, is of no use any more: it is not written, and nothing
    // is being written there when this returns.
    void forget(uint64_t start, uint64_t end);
    // What could not be written is lost: nobody is there any more who could ask for it.
    void give_up();
    status advise(uint64_t first, uint64_t end, file_advice advice) override;
    uint32_t seen_errors() const override;
    status check_errors(std::atomic<uint32_t>& seen) override;

    // ---- All of them

    // Writes what is dirty of all objects whose first dirty page is so for `turns` calls of tick(). The
    // first error. EINTR.
    static status flush_all(unsigned turns = 0);
    static void tick();
    static uint64_t dirty_pages();  // in all
    static uint64_t cached_pages(); // in all, dirty or not
    // If more pages are dirty than may be, the caller writes some. No VM lock is held.
    static void limit_dirty();
    static uint64_t most_dirty();

    void before_write() override { limit_dirty(); }
    void grow(uint64_t size) override;
    void trim() override;
    // As of uvm_pages; EIO: the rest of the last page cannot be had.
    status resize(uint64_t size) override;

    void last_reference_gone() override;
    expected<vm_page*> get(uint64_t index, bool write) override REQUIRES(lock_);
    status bring_in(uint64_t index, bool write, page_in& later) override REQUIRES(lock_) {
        return bring_in_pages(index, write, false, later);
    }
    void page_came(vm_page& page, swap_slot slot, const status& read, bool wanted) override
        REQUIRES(lock_);
    bool next_out(uint64_t& index, uint64_t end) override REQUIRES(lock_);
    status put(uint64_t first, uint64_t last) override { return flush(first, last); }
    bool needs_handle() const override { return true; }
    bool has_home() const override { return true; }
    status read_home(uint64_t first, std::span<vm_page* const> pages) override;
    status make_ready(uint64_t start, uint64_t end) override;
    bool leave_memory(vm_page& page) override REQUIRES(lock_);
    bool write_out(uint64_t index) override;

    // Panics unless pages and what is noted of them agree.
    void check();

    uvm_vnode(page_store& store, uint64_t size, bool placed)
        : uvm_pages(size), placed_(placed), store_(&store) {}
    ~uvm_vnode() override;

private:
    // What there is of a page that is dirty or held to be written: the word that dirty_ has for it.
    struct dirt {
        uint8_t dirty = 0;    // sectors that are newer than the disk
        uint8_t writing = 0;  // sectors that are being written
        bool failed = false;  // the last write did: it is tried again only by who asks for it
        uint32_t writers = 0; // who holds it to write to it

        static dirt of(void* word);
        void* word() const;
        bool counts() const { return dirty || writing; }
        bool over() const { return !counts() && !writers; }
    };
    // Pages in a row that one call of the store writes.
    struct run {
        uint64_t first = 0;
        unsigned count = 0;
        page_store::dirty_page pages[cluster];
    };
    struct flushed {
        status result;
        uint64_t pages = 0;
    };
    class store_use;
    struct dirty_list;

    expected<held_page> try_hold(wanted_bytes& bytes, page_in& later) override;
    expected<vm_page*> page_for(wanted_bytes& bytes, page_in& later) REQUIRES(lock_);
    void written(vm_page& page) override REQUIRES(lock_);
    void make_held_dirty(vm_page& page, uint8_t sectors) override REQUIRES(lock_);
    status bring_in_pages(uint64_t index, bool write, bool urgent, page_in& later) REQUIRES(lock_);
    vm_page* make_room(uint64_t index, bool zeroed, bool urgent) REQUIRES(lock_);
    status fetch(uint64_t first, uint64_t end);
    void drop_clean(uint64_t first, uint64_t end);
    uint64_t end_of_page(uint64_t index) const; // of what of it belongs to the object, in bytes

    dirt dirt_of(uint64_t index) const REQUIRES(lock_);
    status make_dirty(vm_page& page, uint8_t sectors, uint32_t writers) REQUIRES(lock_);
    void set_dirt(uint64_t index, const dirt& before, const dirt& is) REQUIRES(lock_);
    void make_clean(uint64_t index, uint8_t sectors) REQUIRES(lock_);
    uint8_t sectors_before_end(uint64_t index) const;
    // Holds the page for one more who writes to it. ENOMEM.
    expected<held_page> pin(vm_page& page, uint8_t sectors) REQUIRES(lock_);
    status give_place(const held_page& held, uint64_t start, uint64_t end) EXCLUDES(lock_);
    void remove_from(uint64_t first) REQUIRES(lock_);
    void zero_tail(uint64_t from) REQUIRES(lock_);

    flushed flush_pages(uint64_t first, uint64_t end, bool retry, uint64_t most,
                        bool whole = false);
    bool gather(uint64_t& from, uint64_t end, bool retry, run& r) REQUIRES(lock_);
    status write(run& r);
    void write_ended(run& r, const status& result) REQUIRES(lock_);
    void note_error();

    // Waits until nothing of [first, end) is busy or being written, and calls change() then, locked.
    template <class Change> void when_still(uint64_t first, uint64_t end, Change change);
    uint64_t moving_in(uint64_t first, uint64_t end, vm_page*& busy) REQUIRES(lock_);
    uint64_t write_ticket();
    void wait_for_write(uint64_t ticket);
    void tell_waiters();
    void leave_list_if_clean();

    const bool placed_;
    sparse_slots dirty_ GUARDED_BY(lock_);       // of dirt
    uint64_t dirty_count_ GUARDED_BY(lock_) = 0; // of those that count
    bool listed_ GUARDED_BY(lock_) = false;      // with all that have dirty pages
    bool cutting_ GUARDED_BY(lock_) =
        false; // somebody waits until pages are not held to be written
    uvm_swap::read_ahead ahead_ GUARDED_BY(lock_);
    // How reads that come in order are met: by clusters that widen, by none, by full ones.
    std::atomic<file_advice> reading_{file_advice::normal};
    std::atomic<uint32_t> errors_{
        0}; // how many, twice; and whether somebody has been told of the last one
    spin_lock writes_lock_{lock_rank::wait, "uvm_vnode writes"};
    wait_queue waiting_ GUARDED_BY(writes_lock_); // for a write to end, or a call of the store
    uint64_t writes_ended_ GUARDED_BY(writes_lock_) = 1;
    page_store* store_ GUARDED_BY(writes_lock_);  // null: retired
    unsigned calls_ GUARDED_BY(writes_lock_) = 0; // of the store, under way
    list_node on_list_ GUARD_UNCHECKED("the lock of the list");
    uint32_t dirty_since_ GUARD_UNCHECKED("the lock of the list") = 0;
};

// Pages on their way between memory and a swap area, or from their home.
//
// Such a page is busy: vm_page::busy, under its owner's lock. It has no mapping, and nobody reads
// or writes it but the disk. Who wants it lets go of all his locks, the map's, too, for a writer
// who waits for that would stop the whole address space; waits, and looks everything up again. An
// owner that ends meanwhile leaves the page `released`: who moves it frees both.
//
//     page_in later;
//     {
//         lock_guard guard(...);                       // the map, the amap
//         status there = anon.bring_in(later);         // EAGAIN: it has to come first
//         ...
//     }
//     status came = page_in_finish(later);             // no lock is held. Then again from the start
#pragma once

#include "vm/uvm_pdpolicy.h"
#include "vm/uvm_swap.h"
#include "vm/vm_aftermath.h"

class vm_anon;

// Marks a page as on its way; as there again. The owner's lock is held, and the page has no mapping.
void page_set_busy(vm_page& page);
void page_clear_busy(vm_page& page);
// Waits until it is, without a lock. Sleeps.
void page_wait_idle(vm_page& page);

// Called by who is about to move pages, without a lock: tests can hold it there
// (kernel/process/sync_point.h).
enum class page_way : uint8_t { in, out };
#ifdef SPORK_HOST
inline void about_to_move_pages(page_way) {}
#else
void about_to_move_pages(page_way way);
#endif

// What one thread waits for, on its stack: pages that it brings in, or one that somebody else moves; or
// that a page may be stored into.
class page_in {
public:
    static constexpr unsigned most = 32;

    page_in() = default;
    page_in(const page_in&) = delete;
    ~page_in() { ASSERT(what_ == waits_for::nothing); }

    // The page is busy. Its owner's lock is held.
    void wait_for(vm_page& busy);
    // Begins to bring in what `slot` has, for the anon, or for the object that the owner is. `page` is
    // the memory for it, busy, and its owner's already.
    void begin(vm_page& page, swap_slot slot, page_owner_lock owner, vm_anon* anon = nullptr);
    // Whether what `slot` has may come with them, by add(): it lies behind, and there is room. The
    // page is of the same family of anons, or of the same object.
    bool continues(swap_slot slot) const {
        return slot_ != 0 && count_ < uvm_swap::read_ahead::most && slot == slot_ + count_;
    }
    void add(vm_page& page, vm_anon* anon = nullptr);
    // Begins to read a page of an object that has a home, as begin(). Those that lie behind it may come
    // with it, by add(), as long as there is room.
    void begin_read(vm_page& page, ref_ptr<uvm_object> owner);
    bool has_room() const { return count_ < most; }
    // What make_ready() of the object does with these bytes.
    void make_ready(ref_ptr<uvm_object> owner, uint64_t start, uint64_t end);
    // It is for a fault, which this fork led to.
    void lay_to(remembered_fork fork) { cause_ = std::move(fork); }

private:
    enum class waits_for : uint8_t { nothing, another, swap, home, place };
    friend status page_in_finish(page_in& way);
    status read(unsigned pages);
    status read_all();
    void came(unsigned n, const status& read);

    waits_for what_ = waits_for::nothing;
    vm_page* pages_[most] = {}; // the first is the one that is wanted
    vm_anon* anons_[uvm_swap::read_ahead::most] = {};
    unsigned count_ = 0;
    swap_slot slot_ = 0; // of the first, if it comes from swap
    page_owner_lock owner_;
    uint64_t first_ = 0, end_ = 0; // home: the first page; place: the bytes
    remembered_fork cause_;
};

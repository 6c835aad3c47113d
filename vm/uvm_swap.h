// Swap areas: disks to which pages of anonymous memory are put out, in slots of a page.
//
// An area is a disk or a partition with mkswap's header. A slot belongs to the anon or object whose
// page it holds: one for each page, taken when the page is first put out, kept while the page in
// memory has not been written since, and given back with its owner or at the first store. So a
// page that has a slot and is in memory need not be written again.
//
// Lock: a spin lock of the areas; a slot's owner changes it under his own lock. None is held while
// the disk works, and nothing here but on() allocates.
#pragma once

#include "lib/disk.h"
#include "lib/no_alloc.h"
#include "lib/result.h"

#include <algorithm>
#include <cstdint>
#include <span>

class vm_anon;
class uvm_object;
struct vm_page;

using swap_slot = uint32_t; // 0: none
// The slot of a page that reads as zeros once it is out: of no area (MADV_FREE).
inline constexpr swap_slot slot_of_zeros = 1;

namespace uvm_swap {

inline constexpr unsigned cluster =
    16; // pages that are written at once, if their slots lie in a row

// How many pages of an amap or object come in at once: one, and twice as many each time that the
// next one wanted is the one behind them. Who reads here and there brings in nothing for nothing.
// UVM reads one page; the doubling is from Linux's file read-ahead.
class read_ahead {
public:
    static constexpr unsigned most = 8;
    unsigned begin(uint64_t at, unsigned limit = most) { // page or slot number of the first
        width_ = at == next_ ? std::min<unsigned>(2 * width_, limit) : 1;
        return width_;
    }
    void end(uint64_t next) { next_ = next; }

private:
    uint64_t next_ = UINT64_MAX;
    unsigned width_ = 1;
};

// Who a slot belongs to.
class slot_owner {
public:
    constexpr slot_owner() = default;
    explicit slot_owner(vm_anon& anon) : word_(reinterpret_cast<uintptr_t>(&anon)) {}
    slot_owner(uvm_object& object, uint64_t index)
        : word_(reinterpret_cast<uintptr_t>(&object) | 1), index_(index) {}
    static constexpr slot_owner unusable() { // the slot is no good
        slot_owner o;
        o.word_ = 2;
        return o;
    }
    vm_anon* anon() const { return word_ & 3 ? nullptr : reinterpret_cast<vm_anon*>(word_); }
    uvm_object* object() const {
        return word_ & 1 ? reinterpret_cast<uvm_object*>(word_ & ~uintptr_t{1}) : nullptr;
    }
    uint64_t index() const { return index_; } // of the object's page
    explicit operator bool() const { return word_ != 0; }
    friend bool operator==(slot_owner, slot_owner) = default;

private:
    uintptr_t word_ = 0;
    uint64_t index_ = 0;
};

// Takes slots that lie in a row for as many of `owners` as it can: the first, and how many. None:
// swap is full.
struct slots {
    swap_slot first = 0;
    unsigned count = 0;
};
NO_ALLOC slots allocate(std::span<const slot_owner> owners);
NO_ALLOC void free(swap_slot slot);
// A slot that could not be written: nobody gets it again.
NO_ALLOC void give_up(swap_slot slot);

// Where a slot lies.
struct slot_place {
    disk* area;
    uint64_t page;
};
slot_place place(swap_slot slot);

// Moves pages from or to slots that lie in a row. Sleeps. EIO.
NO_ALLOC status transfer(disk_operation operation, swap_slot first,
                         std::span<vm_page* const> pages);

// swapon(2), of a disk: EINVAL without a header that we know, EBUSY, ENOMEM, EPERM when there are
// areas enough (as Linux), EIO. `priority`: areas of a higher one are filled first; negative: each
// is filled after those that were there before.
status on(disk& area, int priority);
// swapoff(2) (vm/uvm_swapoff.h), its two ends: no slot of the area is given out any more, and these
// are to be emptied (EINVAL: it is none; EBUSY: another does it); the area is gone, or on again.
struct slot_range {
    swap_slot first, end;
};
expected<slot_range> begin_off(disk& area);
void end_off(disk& area, bool emptied);
// Calls look() with the slot's owner, who does not end meanwhile: a spin lock is held.
void look_at_owner(swap_slot slot, void look(void* context, slot_owner owner), void* context);

struct facts {
    const disk* area;
    uint64_t pages, used;
    int priority;
};
// The n-th area; false when there are no more.
bool look(unsigned n, facts& found);
struct totals {
    uint64_t pages, free;
};
totals total();
uint64_t pages(); // of total()
bool full();      // whether no slot may be had

// Panics unless the slots of each area are counted as they are.
void check();
// Panics unless the slot belongs to whoever says that it does.
void check_owner(swap_slot slot, slot_owner owner);

} // namespace uvm_swap

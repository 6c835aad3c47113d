// vm_amap: the anonymous memory of a mapping, a slot for each page; and vm_aref, a map entry's
// reference to a range of its slots.
//
// A slot holds a vm_anon or nothing. Two map entries that came from one fork reference one amap
// until one of them writes: both carry needs_copy, and the first write fault makes the writer an
// amap of its own whose slots reference the same anons (Cranor 1998, ch. 4).
//
// Slot numbers only mean something within the amap. A new mapping uses its page numbers, which
// leaves room on both sides: an entry can grow upwards (brk) and downwards (stacks) in place.
// Memory is taken for touched slots alone (see sparse_slots.h).
//
// Who references which slot. Entries are clipped, and forked, and unmapped in part; the anons of
// a part must go when the last entry that references that part goes, not when the amap does.
// Splitting the amap with the entry would do that while nobody else has it, but not once a fork
// shares it. So the amap counts the references of each slot (Cranor's partial reference counts,
// am_ppref), as a sorted set of edges: from an edge up to the next one, every slot has the edge's
// count.
//
//     entry of the parent        |---------- a ----------|
//     entries of the child       |--- b ---|     |-- c --|
//     edges                      2         1     2       0
//
// A reference to a range has two ends, so n references never make more than 2n edges (clipping
// makes none at all). Every vm_aref brings two edges with it when it is attached, and takes two
// along when it is released: releasing, which must not fail, never allocates.
//
// Lock: lock(), which amaps that may have anons in common share with each other and with the anons
// (vm/amap_lock.h). Order: vm_map > vm_amap > uvm_object (lib/lock_rank.h).
// Invariants, checked by check(): an anon is only in a slot that is referenced, and has the amap's
// lock; edges are sorted and neighbours differ; the amap owns 2 * references + 1 edges (the one
// more is for the moment in which a reference grows).
#pragma once

#include "lib/list.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"
#include "lib/serial.h"
#include "vm/snapshot_mark.h"
#include "vm/sparse_slots.h"
#include "vm/uvm_object.h"
#include "vm/vm_anon.h"

#include <cstdint>

using slot_t = uint64_t;

struct amap_edge {
    avl_node node;   // in the amap's tree
    list_node spare; // or on its list of unused ones
    slot_t slot = 0;
    uint32_t count = 0; // references of each slot from here to the next edge
};

class vm_aref;

class vm_amap final : public ref_counted<vm_amap> {
public:
    static constexpr auto end_takes = lock_rank::vm_amap;
    // An amap without references to slots. It is for entries that have `below`, if anything, as
    // their object, with the object's page `page` under slot 0; and for copies of what `original`
    // has, if that is not null, whose lock it shares. ENOMEM. Does not sleep.
    static expected<ref_ptr<vm_amap>> create(uvm_object* below = nullptr, uint64_t page = 0,
                                             const vm_amap* original = nullptr);
    amap_shadow& shadow() { return shadow_; }

    amap_lock& lock() const RETURN_CAPABILITY(*lock_) { return *lock_; }

    // The anon in `slot`, or null.
    vm_anon* lookup(slot_t slot) const REQUIRES(*lock_);
    // The first anon in [slot, end), and its slot; null when there is none.
    vm_anon* find_from(slot_t& slot, slot_t end) const REQUIRES(*lock_);
    // Calls visit(slot, anon) for each anon in [first, end), in order.
    template <class Visit>
    void each_anon(slot_t first, slot_t end, Visit visit) const REQUIRES(*lock_) {
        slots_.visit(first, end, [&](slot_t slot, void* anon) {
            visit(slot, *static_cast<vm_anon*>(anon));
            return true;
        });
    }
    // Fills an empty, referenced slot. ENOMEM: nothing has changed.
    status add(slot_t slot, ref_ptr<vm_anon> anon) REQUIRES(*lock_);
    // Puts `anon` where another one is, whose reference is dropped.
    void replace(slot_t slot, ref_ptr<vm_anon> anon) REQUIRES(*lock_);
    // Drops the anons in [first, end), which stay referenced: they read as if never touched.
    void wipe(slot_t first, slot_t end) REQUIRES(*lock_);
    // Drops the anons from `first` on and takes their pages out of every pmap, whoever else has
    // them.
    void wipe_everywhere(slot_t first) REQUIRES(*lock_);

    // How many entries refer to the slot: more than one after a fork whose copy was put off.
    unsigned sharers(slot_t slot) const REQUIRES(*lock_);
    // Whether any slot in [first, end) has more than one reference; has one at all.
    bool shared(slot_t first, slot_t end) const REQUIRES(*lock_);
    bool referenced(slot_t first, slot_t end) const REQUIRES(*lock_);
    // Whether every one of them has.
    bool referenced_throughout(slot_t first, slot_t end) const REQUIRES(*lock_);
    // Whether one vm_aref is all that refers to this amap.
    bool held_once() const REQUIRES(*lock_) { return attached_ == 1; }
    // How many slots some entry refers to. Linear in the edges.
    uint64_t referenced_slots() const REQUIRES(*lock_);
    // As vm_anon::bring_in(), of the anon in `slot`, if there is one; with it come those in the next
    // slots before `end` that were put out together with it, as far as reading ahead has been of use
    // in this amap.
    status bring_in(slot_t slot, slot_t end, page_in& later) REQUIRES(*lock_);
    // Anons in all slots.
    uint64_t used() const REQUIRES(*lock_) { return slots_.used(); }

    // Fills the slots [first, end), which are empty, of this amap, which shares the lock of `from`:
    // with the anons that `from` has there, whose pages nobody has mapped writable; or with anons
    // of their own that are copies of them. ENOMEM: some slots are filled.
    status share_anons(vm_amap& from, slot_t first, slot_t end) REQUIRES(*from.lock_);
    status copy_anons(vm_amap& from, slot_t first, slot_t end) REQUIRES(*from.lock_);

    // Set once two maps write to one amap through inheritance (minherit(2), share): a fork may
    // then not defer its copy, since needs_copy would part the two. Such an amap grows no more: all
    // of its slots have been shared.
    bool shared_by_inheritance() const REQUIRES(*lock_) { return shared_by_inheritance_; }
    void set_shared_by_inheritance() REQUIRES(*lock_) { shared_by_inheritance_ = true; }

    // Panics unless the invariants hold. Linear in what is touched.
    void check();
    void last_reference_gone();

    const vm_serial serial;
    snapshot_mark mark GUARD_UNCHECKED("the machine stands still");

    vm_amap(uvm_object* below, uint64_t page, ref_ptr<amap_lock> lock);
    ~vm_amap();

private:
    friend class vm_aref;

    status add_copy(slot_t slot, vm_anon& original) REQUIRES(*lock_);
    void take_edges_of(vm_aref& aref) REQUIRES(*lock_);
    void give_edges_to(vm_aref& aref) REQUIRES(*lock_);
    amap_edge& edge_at(slot_t slot) REQUIRES(*lock_);
    void drop_if_redundant(amap_edge& edge) REQUIRES(*lock_);
    void count_range(slot_t first, slot_t end, int by) REQUIRES(*lock_);
    const amap_edge* edge_covering(slot_t slot) const REQUIRES(*lock_);

    const ref_ptr<amap_lock> lock_;
    sparse_slots slots_ GUARDED_BY(*lock_); // of vm_anon*, each an owned reference
    avl_tree<amap_edge, &amap_edge::node> edges_ GUARDED_BY(*lock_);
    list<amap_edge, &amap_edge::spare> spare_edges_ GUARDED_BY(*lock_);
    uint64_t edge_total_ GUARDED_BY(*lock_) = 0; // in the tree and spare
    uint64_t attached_ GUARDED_BY(*lock_) = 0;   // vm_arefs
    bool shared_by_inheritance_ GUARDED_BY(*lock_) = false;
    uvm_swap::read_ahead ahead_ GUARDED_BY(*lock_);
    amap_shadow shadow_ GUARD_UNCHECKED(uvm_object::shadows_); // constant, but for its links
};

// A map entry's reference to slots of an amap (Cranor's vm_aref). Guarded by the lock of the map
// that the entry is in; takes the amap's itself.
class vm_aref {
public:
    vm_aref() = default;
    vm_aref(const vm_aref&) = delete;
    ~vm_aref();

    explicit operator bool() const { return bool(amap_); }
    vm_amap* amap() const { return amap_.get(); }
    slot_t first() const { return first_; }
    uint64_t pages() const { return pages_; }

    // Takes the memory that attaching will need. ENOMEM. May be called again.
    status prepare();
    // References [first, first + pages) of `amap`. Prepared, and not attached yet.
    void attach(ref_ptr<vm_amap> amap, slot_t first, uint64_t pages);
    // Gives the reference back, and the anons that nobody else references; stays prepared. May
    // sleep.
    void release();
    // Becomes what `other` is; `other` is left unattached. This one is not attached.
    void take_over(vm_aref& other);
    // Clipping: `tail`, prepared, takes over what is behind the first `pages`.
    void split(uint64_t pages, vm_aref& tail);
    // Merging: takes over the reference of `tail`, which follows this one.
    void join(vm_aref& tail);
    bool followed_by(const vm_aref& tail) const {
        return amap_ == tail.amap_ && first_ + pages_ == tail.first_;
    }
    // References `by` more slots behind those that it has, or in front of them. False when other
    // entries reference those slots, or there are none: the caller leaves the new part an entry of
    // its own.
    bool grow_back(uint64_t by);
    bool grow_front(uint64_t by);
    bool may_grow_back(uint64_t by) const; // whether they would
    bool may_grow_front(uint64_t by) const;

private:
    friend class vm_amap;
    bool has_room_behind(uint64_t by) const REQUIRES(amap_ -> lock());
    bool has_room_in_front(uint64_t by) const REQUIRES(amap_ -> lock());

    ref_ptr<vm_amap> amap_;
    slot_t first_ = 0;
    uint64_t pages_ = 0;
    amap_edge* edges_[2] = {}; // while not attached: prepared
};

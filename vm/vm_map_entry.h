// vm_map_entry: a range of an address space in which every page is the same: where it comes
// from, what may be done with it, and what a child of fork gets.
//
// Owned by its vm_map; guarded by the map's lock (faults read it with the lock shared).
//
// Two layers. A fault looks in the amap first, then in the object; what a private mapping writes
// is kept in the amap.
//
//     start                    end
//       |  entry                |
//       |  anon . anon anon . . |     amap    slots aref.first() ...
//       |  page page page page  |     object  from byte `offset`
//
// Kinds:   private anonymous   copy_on_write          no object
//          private of a file   copy_on_write          object
//          shared              not copy_on_write      object, never an amap
#pragma once

#include "lib/avl_tree.h"
#include "lib/list.h"
#include "lib/ref_ptr.h"
#include "lib/types.h"
#include "vm/prot.h"
#include "vm/uvm_handle.h"
#include "vm/uvm_object.h"
#include "vm/vm_aftermath.h"
#include "vm/vm_amap.h"

// What a program may change of a mapping, for each page of it.
struct vm_attributes {
    vm_prot protection = vm_prot::none; // as asked for; see vm_map_entry::effective_protection()
    vm_inherit inheritance = vm_inherit::copy;
    vm_advice advice = vm_advice::normal;
    uint16_t wired_count = 0;    // mlock: 0 or 1, since Linux's locks do not nest
    bool wired_on_fault = false; // MLOCK_ONFAULT: pages are wired as they come, not brought in
    bool charged = false;        // they are in the commit account
    friend bool operator==(const vm_attributes&, const vm_attributes&) = default;
};

struct vm_map_entry : vm_attributes {
    vm_map_entry() = default;
    // The amap first: it is on the object's list of those above it, and the entry's reference may
    // be what keeps the object. The handle last, for the same reason.
    ~vm_map_entry() {
        aref.release();
        set_object(nullptr);
    }

    vaddr_t start{}, end{};     // page aligned, start < end
    ref_ptr<uvm_handle> handle; // of a file's object: what it was mapped through
    ref_ptr<uvm_object> object; // changed by set_object() alone
    uint64_t offset = 0;        // bytes into the object, of `start`
    vm_aref aref;
    vm_prot max_protection = vm_prot::all;
    vm_inherit default_inheritance = vm_inherit::copy; // what MADV_DOFORK and KEEPONFORK restore
    bool copy_on_write = false;                        // a private mapping
    bool needs_copy = false; // the amap is missing or may be another entry's too: before
                             // anything is written, copy_for_write() must be called
    bool grows_down = false;
    bool no_reserve = false;   // MAP_NORESERVE: not charged in modes 0 and 1
    bool storing = false;      // the object counts it as one that may store: set_object()
    remembered_fork last_fork; // the one that its faults are laid to
    const char* tag = nullptr; // static text for /proc/PID/maps

    list_node on_list;
    avl_node tree_links;
    uint64_t gap = 0; // of vm_map_tree
    uint64_t largest_gap = 0;

    uint64_t size() const { return end - start; }
    uint64_t pages() const { return size() >> page_shift; }
    bool contains(vaddr_t va) const { return start <= va && va < end; }
    slot_t slot_of(vaddr_t va) const { return aref.first() + ((va - start) >> page_shift); }
    vaddr_t address_of(slot_t slot) const { return start + ((slot - aref.first()) << page_shift); }
    slot_t slot_end() const { return aref.first() + pages(); }
    // An amap for this entry, whose pages begin at slot `first` of it; it will have copies of what
    // `original`, if there is one, has in its slots.
    expected<ref_ptr<vm_amap>> new_amap(slot_t first, const vm_amap* original = nullptr) const {
        return vm_amap::create(object.get(), object ? object_index(start) - first : 0, original);
    }
    uint64_t object_index(vaddr_t va) const { return (offset + (va - start)) >> page_shift; }
    // x86 cannot forbid reading what may be written or executed, and Linux's access check on
    // faults agrees.
    vm_prot effective_protection() const {
        return protection == vm_prot::none ? vm_prot::none : protection | vm_prot::read;
    }
    // Private memory that can be written is what the commit account counts.
    bool accountable() const { return copy_on_write && allows(protection, vm_prot::write); }

    // The object counts the entries that map it, and those that may store into it.
    void set_object(ref_ptr<uvm_object> to, ref_ptr<uvm_handle> through = {}, bool stores = false);
    // Everything but the place, the amap and the links.
    void copy_attributes(const vm_map_entry& from);
    // Whatever is written from now on is this entry's own.
    void become_private();
    // Makes this, which has no amap and is a copy of another entry, private anonymous memory that
    // was never touched.
    void become_untouched();
    // Gives the entry an amap that no other entry will write to, covering what the entry maps, and
    // clears needs_copy. Copies slots only when somebody else references them. The map is locked
    // for writing; ENOMEM leaves everything as it was.
    status copy_for_write();
    void clear_needs_copy(trace::write_right how);
    // Gives the entry, whose needs_copy is clear, an amap that no other entry uses for other slots
    // either. ENOMEM leaves everything as it was. The map is locked for writing.
    status separate_amap();
    // Whether others write to its amap, which there is. Takes the amap's lock.
    bool shared_by_inheritance() const;
    // For a fault: begins to bring in the page at `va`, if that is out, as vm_anon::bring_in().
    // The map is locked.
    status bring_in(vaddr_t va, bool write, page_in& later);
    // Panics when a field contradicts another.
    void check() const;

private:
    bool is_of_last_fork(const vm_amap& amap, slot_t slot) const;
};

// A map's, in order; or such as have been taken from a map, or made for one.
using entry_list = list<vm_map_entry, &vm_map_entry::on_list>;

// From the pool; null when out of memory.
vm_map_entry* vm_map_entry_create();
// Drops the entry's references. It is in no map. May sleep and may end an object: no VM lock is
// held.
void vm_map_entry_destroy(vm_map_entry* entry);
// The same for an entry that has its handle from another entry or a request, which keeps it: the
// map may be locked.
void vm_map_entry_discard(vm_map_entry* entry);

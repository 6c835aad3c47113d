// Snapshots of address spaces: what the structures of vm/ say at one instant, as JSON (the format
// is docs/explorer-format.md's) and as text for people.
//
// These functions only look, and take no lock: the caller sees to it that nothing changes
// meanwhile (kernel/sched/standstill.h). So they also serve in the middle of an operation, for the
// recorder (kernel/observe/record.h), and may be called with any lock held; they allocate nothing.
//
// Equal neighbours are written as one run: consecutive slots, indices or addresses whose physical
// pages are consecutive too and that agree in everything else.
#pragma once

#include "lib/text_sink.h"
#include "lib/types.h"

#include <cstdint>

class vmspace;
class vm_amap;
class uvm_object;
struct vm_map_entry;

// Kernel and physical addresses are for root to know. Whoever makes a snapshot for somebody else
// sets this to false: structures are told by their serial numbers then, and pages by 0. Written
// where snapshots are made, by one at a time.
extern bool vm_snapshot_addresses;
template <class T> uint64_t vm_snapshot_id(const T& structure) {
    return vm_snapshot_addresses ? reinterpret_cast<uint64_t>(&structure)
                                 : structure.serial.value();
}

// JSON objects: the members "refs" ... "tables" of a vmspace, and those of an amap and an object.
void vmspace_snapshot_json(vmspace& vm, text_sink& out);
void amap_snapshot_json(vm_amap& amap, text_sink& out);
void object_snapshot_json(uvm_object& object, text_sink& out);

// Lines of at most 80 columns, indented: the anons that an entry's amap has for it; the resident
// pages of its object; the mappings that the pmap has in its range.
void entry_snapshot_anons(const vm_map_entry& entry, text_sink& out);
void entry_snapshot_pages(const vm_map_entry& entry, text_sink& out);
void entry_snapshot_mappings(vmspace& vm, const vm_map_entry& entry, text_sink& out);

// Calls visit(context, entry) for each entry of the map, in address order.
void vmspace_snapshot_entries(vmspace& vm, void (*visit)(void* context, vm_map_entry& entry),
                              void* context);

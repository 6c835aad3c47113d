// Which memory an address is: what futexes are known by, and who waits for one finds by another
// address, or in another process.
#include "vm/vmspace.h"

// Null for memory that is private, also if a child is yet to share it.
std::optional<memory_place> vmspace::shared_place(vm_map_entry& e, vaddr_t va) {
    if (!e.copy_on_write)
        return memory_place{e.object->serial.value(), e.offset + (va - e.start)};
    if (e.aref && !e.needs_copy && e.shared_by_inheritance())
        return memory_place{e.aref.amap()->serial.value(),
                            (e.slot_of(va) << page_shift) + va.page_offset()};
    return {};
}

// Who waits for a word must be found by a child that comes later: what the child is going to share
// is made shared now.
expected<memory_place> vmspace::place_of(vaddr_t va) {
    {
        read_guard guard(map_.lock());
        vm_map_entry* e = map_.lookup(va);
        if (!e)
            return fail(Errno::fault);
        if (auto place = shared_place(*e, va))
            return *place;
        if (e->inheritance != vm_inherit::share)
            return memory_place{0, va.value()};
    }
    lock_guard guard(map_.lock());
    vm_map_entry* e = map_.lookup(va);
    if (!e)
        return fail(Errno::fault);
    if (e->copy_on_write && e->inheritance == vm_inherit::share)
        TRY(make_amap_shared(*e));
    return shared_place(*e, va).value_or(memory_place{0, va.value()});
}

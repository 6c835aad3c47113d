#include "vm/vm_map_entry.h"

#include "vm/phys/event.h"
#include "vm/phys/pool.h"
#include "vm/phys/uvmexp.h"
#include "vm/uvm_busy.h"

using trace::write_right;

static pool<vm_map_entry> entry_pool{"vm_map_entry"};

vm_map_entry* vm_map_entry_create() {
    vm_map_entry* entry = entry_pool.create();
    if (entry)
        uvm_count(uvm_counter::map_entries_made);
    return entry;
}

void vm_map_entry_destroy(vm_map_entry* entry) {
    uvm_count(uvm_counter::map_entries_freed);
    entry_pool.destroy(entry);
}

void vm_map_entry_discard(vm_map_entry* entry) {
    entry->handle.reset_spare();
    vm_map_entry_destroy(entry);
}

void vm_map_entry::set_object(ref_ptr<uvm_object> to, ref_ptr<uvm_handle> through, bool stores) {
    if (to)
        to->mapped(stores);
    std::swap(storing, stores);
    std::swap(handle, through);
    std::swap(object, to);
    if (to)
        to->unmapped(stores);
    to.reset(); // before the handle, which may be what keeps all that the object needs
}

void vm_map_entry::copy_attributes(const vm_map_entry& from) {
    set_object(from.object, from.handle, from.storing);
    offset = from.offset;
    vm_attributes::operator=(from);
    max_protection = from.max_protection;
    default_inheritance = from.default_inheritance;
    copy_on_write = from.copy_on_write;
    needs_copy = from.needs_copy;
    grows_down = from.grows_down;
    no_reserve = from.no_reserve;
    last_fork = from.last_fork;
    tag = from.tag;
}

void vm_map_entry::become_private() {
    if (std::exchange(storing, false))
        object->end_storing();
    copy_on_write = needs_copy = true;
}

void vm_map_entry::become_untouched() {
    ASSERT(!aref);
    handle.reset_spare();
    set_object(nullptr);
    offset = 0;
    copy_on_write = needs_copy = true;
    last_fork = {};
}

void vm_map_entry::clear_needs_copy(write_right how) {
    needs_copy = false;
    last_fork.count(how);
    EVENT(needs_copy_cleared, .entry = this, .start = start, .end = end, .how = how);
}

// amap_copy(9). The amap may be another's too by a fork; if the other side is gone by now, the
// copy that fork put off is never made.
status vm_map_entry::copy_for_write() {
    ASSERT(needs_copy && copy_on_write);
    vm_amap* old = aref.amap();
    if (!old) {
        TRY(aref.prepare());
        slot_t slot = start.value() >> page_shift;
        aref.attach(TRY(new_amap(slot)), slot, pages());
        clear_needs_copy(write_right::amap_made);
        return {};
    }

    slot_t first = aref.first();
    vm_aref replacement;
    TRY(replacement.prepare());
    auto copy = TRY(new_amap(first, old));
    {
        lock_guard guard(old->lock());
        if (!old->shared(first, slot_end())) {
            clear_needs_copy(write_right::amap_left);
            return {};
        }
    }
    replacement.attach(std::move(copy), first, pages());
    {
        lock_guard guard(old->lock());
        TRY(replacement.amap()->share_anons(*old, first, slot_end()));
    }
    aref.release();
    aref.take_over(replacement);
    clear_needs_copy(write_right::amap_copied);
    return {};
}

// The anons move: for a moment two slots have each, and then one again.
status vm_map_entry::separate_amap() {
    ASSERT(aref && !needs_copy);
    vm_amap* old = aref.amap();
    {
        lock_guard guard(old->lock());
        if (old->held_once())
            return {};
    }
    vm_aref replacement;
    TRY(replacement.prepare());
    replacement.attach(TRY(new_amap(aref.first(), old)), aref.first(), pages());
    {
        lock_guard guard(old->lock());
        TRY(replacement.amap()->share_anons(*old, aref.first(), slot_end()));
    }
    aref.release();
    aref.take_over(replacement);
    return {};
}

void vm_map_entry::check() const {
    ASSERT(start < end && start.page_aligned() && end.page_aligned());
    ASSERT(offset % page_size == 0);
    ASSERT(copy_on_write || object);
    ASSERT(object ? handle || !object->needs_handle() : !handle);
    ASSERT(storing == (object && !copy_on_write && allows(max_protection, vm_prot::write)));
    ASSERT(wired_count || !wired_on_fault);
    ASSERT(copy_on_write || !aref);
    ASSERT(copy_on_write || !needs_copy);
    ASSERT(!copy_on_write || aref || needs_copy);
    ASSERT(!charged || copy_on_write);
    ASSERT(allows(max_protection, protection));
    if (vm_amap* amap = aref.amap()) {
        ASSERT(aref.pages() == pages());
        ASSERT(amap->shadow().object == object.get());
        ASSERT(!object || object_index(start) == aref.first() + amap->shadow().page);
        lock_guard guard(amap->lock());
        ASSERT(amap->referenced_throughout(aref.first(), slot_end()));
        ASSERT(!needs_copy || !amap->shared_by_inheritance());
    }
}

status vm_map_entry::bring_in(vaddr_t va, bool write, page_in& later) {
    if (vm_amap* amap = aref.amap()) {
        lock_guard guard(amap->lock());
        if (amap->lookup(slot_of(va))) {
            if (is_of_last_fork(*amap, slot_of(va)))
                later.lay_to(last_fork);
            return amap->bring_in(slot_of(va), slot_end(), later);
        }
    }
    if (!object)
        return {};
    lock_guard guard(object->lock());
    return object->bring_in(object_index(va), write && !copy_on_write, later);
}

// Whether the page in the slot, which has one, is the other side's, too; in the child, was.
bool vm_map_entry::is_of_last_fork(const vm_amap& amap, slot_t slot) const {
    amap.lock().assert_held();
    const vm_anon& anon = *amap.lookup(slot);
    if (last_fork.child())
        return last_fork.aftermath->came_after(anon.born());
    return anon.references() > 1 || amap.shared(slot, slot + 1);
}

bool vm_map_entry::shared_by_inheritance() const {
    lock_guard guard(aref.amap()->lock());
    return aref.amap()->shared_by_inheritance();
}

// What /proc says of an address space: maps, smaps, statm, status.
#include "arch/pmap.h"
#include "lib/string.h"
#include "vm/phys/vm_page.h"
#include "vm/vmspace.h"
#include "vm/vmspace_pages.h"

void vm_usage::add_page(vm_page& page, const pmap_mapping& mapping) {
    const unsigned mappings = std::max(pmap::mapping_count(page), 1u);
    const bool dirty = mapping.modified || pmap::is_modified(page) ||
                       (page.owner_kind == page_owner::object && !page.clean);
    const uint64_t part = (uint64_t{page_size} << fraction_bits) / mappings;
    resident += page_size;
    proportional += part;
    if (mappings > 1)
        (dirty ? shared_dirty : shared_clean) += page_size;
    else
        (dirty ? private_dirty : private_clean) += page_size;
    if (dirty)
        proportional_dirty += part;
    if (mapping.referenced || pmap::is_referenced(page))
        referenced += page_size;
    if (page.owner_kind == page_owner::anon) {
        anonymous += page_size;
        proportional_anonymous += part;
    }
}

void vm_usage::add(const vm_usage& other) {
    resident += other.resident;
    anonymous += other.anonymous;
    referenced += other.referenced;
    shared_clean += other.shared_clean;
    shared_dirty += other.shared_dirty;
    private_clean += other.private_clean;
    private_dirty += other.private_dirty;
    proportional += other.proportional;
    proportional_dirty += other.proportional_dirty;
    proportional_anonymous += other.proportional_anonymous;
    lazily_freed += other.lazily_freed;
    swapped += other.swapped;
    swapped_proportional += other.swapped_proportional;
}

// In parts, as faults wait for the lock.
void vmspace::count_swapped_anons(vm_map_entry& e, vm_usage& usage) {
    constexpr unsigned looks_at_once = 1024;
    vm_amap* amap = e.aref.amap();
    for (slot_t slot = e.aref.first(); amap && slot < e.slot_end();) {
        lock_guard guard(amap->lock());
        for (unsigned left = looks_at_once; left != 0; left--, slot++) {
            vm_anon* anon = amap->find_from(slot, e.slot_end());
            if (!anon)
                return;
            if (anon->slot() == slot_of_zeros) {
                usage.lazily_freed += anon->page() ? page_size : 0;
            } else if (anon->is_swapped()) {
                usage.swapped += page_size;
                // Of other amaps that have it, each is taken for one process's.
                const unsigned sharers = anon->references() - 1 + amap->sharers(slot);
                usage.swapped_proportional +=
                    (uint64_t{page_size} << vm_usage::fraction_bits) / sharers;
            }
        }
        long_work::pause();
    }
}

// What an anon hides does not count.
static uint64_t swapped_of_object(vm_map_entry& e) {
    if (e.object && e.object->has_home())
        return 0;
    const auto count = [&](auto hidden) {
        lock_guard guard(e.object->lock());
        const uint64_t first = e.object_index(e.start);
        uint64_t n = 0;
        for (uint64_t i = first; e.object->next_out(i, first + e.pages()); i++)
            n += !hidden(e.aref.first() + (i - first));
        return n * page_size;
    };
    vm_amap* const amap = e.aref.amap();
    if (!e.object || !amap)
        return e.object ? count([](slot_t) { return false; }) : 0;
    lock_guard guard(amap->lock());
    return count([&](slot_t slot) {
        amap->lock().assert_held();
        return amap->lookup(slot) != nullptr;
    });
}

// Linux, too, counts here no memory that is shared from the start.
uint64_t vmspace::swapped_pages() {
    uvm_swap::facts area;
    uint64_t used = 0;
    for (unsigned n = 0; uvm_swap::look(n, area); n++)
        used += area.used;
    if (used == 0)
        return 0;
    vm_usage usage;
    read_guard guard(map_.lock());
    for (vm_map_entry* e = map_.first(); e; e = map_.next(*e))
        count_swapped_anons(*e, usage);
    return usage.swapped / page_size;
}

static map_region region_of(const vm_map_entry& e) {
    map_region region{.start = e.start,
                      .end = e.end,
                      .prot = e.protection,
                      .max_prot = e.max_protection,
                      .inheritance = e.inheritance,
                      .advice = e.advice,
                      .shared = !e.copy_on_write,
                      .grows_down = e.grows_down,
                      .locked = e.wired_count > 0,
                      .no_reserve = e.no_reserve,
                      .charged = e.charged,
                      .offset = e.offset,
                      .device = e.object ? e.object->device() : 0,
                      .inode = e.object ? e.object->inode() : 0,
                      .name = {}};
    copy_string(region.name, sizeof region.name, e.tag ? e.tag : e.object ? e.object->name() : "");
    return region;
}

std::optional<map_region> vmspace::region_at_or_after(vaddr_t from, vm_usage* usage) {
    read_guard guard(map_.lock());
    vm_map_entry* e = map_.lookup_or_next(from);
    if (!e)
        return std::nullopt;
    if (usage) {
        count_swapped_anons(*e, *usage);
        usage->swapped += swapped_of_object(*e);
        for_each_mapped_page(*e, [&](vaddr_t, vm_page& page, const pmap_mapping& mapping) {
            usage->add_page(page, mapping);
        });
    }
    return region_of(*e);
}

std::optional<map_region> vmspace::region_before(vaddr_t to) {
    read_guard guard(map_.lock());
    vm_map_entry* above = map_.lookup_or_next(to);
    vm_map_entry* e = above ? map_.prev(*above) : map_.last();
    return e ? std::optional(region_of(*e)) : std::nullopt;
}

// Before anything is taken away.
void vmspace::note_peaks() {
    peak_virtual_ = std::max(peak_virtual_, map_.totals().all);
    peak_resident_ = std::max(peak_resident_, pmap_->resident_pages());
}

vmspace::sizes vmspace::get_sizes() {
    read_guard guard(map_.lock());
    const vm_map::sums& t = map_.totals();
    const uint64_t resident = pmap_->resident_pages();
    return {.virtual_pages = t.all,
            .resident_pages = resident,
            .anonymous_pages = pmap_->anonymous_pages(),
            .object_pages = pmap_->object_pages(),
            .data_pages = t.data,
            .stack_pages = t.stack,
            .text_pages = t.text,
            .shared_pages = t.shared,
            .locked_pages = t.locked,
            .peak_virtual_pages = std::max(peak_virtual_, t.all),
            .peak_resident_pages = std::max(peak_resident_, resident)};
}

uint64_t vmspace::commit_charge() const {
    read_guard guard(map_.lock());
    return map_.totals().charged;
}

// Memory that a fork or an madvise has taken out of the page table is in amaps and objects all the
// same. Of an object each entry has a share.
uint64_t vmspace::footprint() NO_THREAD_SAFETY_ANALYSIS { // amaps are not locked
    const uint64_t mapped = pmap_->resident_pages();
    uint64_t amaps = 0, anons = 0, shares = 0; // the last in bytes
    const vm_amap* last = nullptr;             // what one mapping was split into has one
    read_guard guard(map_.lock());
    const uint64_t entries = map_.entry_count();
    for (vm_map_entry* e = map_.first(); e; e = map_.next(*e)) {
        const vm_amap* amap = e->aref.amap();
        if (amap && amap != last) {
            amaps++;
            anons += amap->used();
        }
        last = amap;
        shares += e->object ? e->object->share() : 0;
    }
    const uint64_t bytes = entries * sizeof(vm_map_entry) +
                           amaps * (sizeof(vm_amap) + sizeof(amap_lock)) + anons * sizeof(vm_anon);
    return std::max(mapped, anons + shares / page_size) + pmap_->table_pages() + bytes / page_size;
}

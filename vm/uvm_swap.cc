#include "vm/uvm_swap.h"

#include "lib/lock.h"
#include "lib/long_work.h"
#include "lib/string.h"
#include "vm/phys/pool.h"
#include "vm/phys/vm_page.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

namespace uvm_swap {

namespace {

constexpr unsigned most_areas = 8;
constexpr unsigned area_shift = 28; // of a slot's number, the rest is its place in the area

// The first page of an area, as mkswap writes it (Linux's union swap_header).
struct header {
    char boot[1024]; // free for a boot loader
    uint32_t version;
    uint32_t last_page; // slots are 1 to this one
    uint32_t bad_pages;
    uint8_t uuid[16];
    char label[16];
    uint32_t padding[117];
    uint32_t bad[637];

    // In the last bytes of the page.
    bool known() const {
        constexpr std::string_view magic = "SWAPSPACE2";
        return memcmp(boot + page_size - magic.size(), magic.data(), magic.size()) == 0 &&
               version == 1 && last_page != 0 && bad_pages <= std::size(bad);
    }
};
static_assert(offsetof(header, bad) == 1536);

constexpr size_t owners_in_page = page_size / sizeof(slot_owner);

struct area {
    disk* on = nullptr; // null: the place is free
    int priority = 0;
    bool closing = false; // no slot is given out any more
    uint32_t slots = 0;   // with slot 0, which is the header
    uint32_t usable = 0, used = 0;
    uint32_t hint = 1;             // where the search begins
    slot_owner** owners = nullptr; // of each slot, by pages

    slot_owner& owner(uint32_t n) { return owners[n / owners_in_page][n % owners_in_page]; }
    bool taken(uint32_t n) { return bool(owner(n)); }
    size_t owner_pages() const { return (slots + owners_in_page - 1) / owners_in_page; }
};

constinit spin_lock swap_lock{lock_rank::swap, "swap"};
area areas[most_areas] GUARDED_BY(swap_lock);
int lowest_priority GUARDED_BY(swap_lock) = -1;  // of the next area that asks for none
constinit std::atomic<uint64_t> usable_pages{0}; // of all areas that are not closing
constinit std::atomic<uint64_t> free_slots{0};   // of them

area& area_of(swap_slot slot) REQUIRES(swap_lock) { return areas[(slot >> area_shift) - 1]; }
uint32_t place_of(swap_slot slot) { return slot & ((uint32_t{1} << area_shift) - 1); }
swap_slot number(const area& a, uint32_t place) REQUIRES(swap_lock) {
    return swap_slot((&a - areas) + 1) << area_shift | place;
}

area* find(const disk& d) REQUIRES(swap_lock) {
    for (area& a : areas)
        if (a.on == &d)
            return &a;
    return nullptr;
}

// Whether some of the disk is used already, under whichever name.
bool overlaps(const disk& d) REQUIRES(swap_lock) {
    for (const area& a : areas)
        if (a.on && &a.on->whole == &d.whole && a.on->is.first < d.is.first + d.is.sectors &&
            d.is.first < a.on->is.first + a.on->is.sectors)
            return true;
    return false;
}

// The area of the highest priority that has a free slot.
area* best() REQUIRES(swap_lock) {
    area* best = nullptr;
    for (area& a : areas)
        if (a.on && !a.closing && a.used < a.usable && (!best || a.priority > best->priority))
            best = &a;
    return best;
}

struct run {
    uint32_t first = 0, count = 0;
};

// The free slots from `from` on, `most` of them at most.
run run_at(area& a, uint32_t from, uint32_t most) REQUIRES(swap_lock) {
    run found{from, 0};
    while (found.count < most && from + found.count < a.slots && !a.taken(from + found.count))
        found.count++;
    return found;
}

// The longest run of up to `most` that a look from the hint on comes to; there is a free slot. The
// look ends early once it has one: where swap is in pieces, pages go out in pieces.
run find_run(area& a, uint32_t most) REQUIRES(swap_lock) {
    constexpr uint32_t enough = 4096;
    run longest;
    uint32_t at = a.hint;
    for (uint32_t looked = 0; looked < a.slots && longest.count < most;) {
        if (looked > enough && longest.count != 0)
            break;
        if (at >= a.slots)
            at = 1;
        const run here = run_at(a, at, most);
        if (here.count > longest.count)
            longest = here;
        looked += here.count + 1;
        at += here.count + 1;
    }
    return longest;
}

} // namespace

// ---- Slots -----------------------------------------------------------------------------------

slots allocate(std::span<const slot_owner> owners) {
    lock_guard guard(swap_lock);
    area* a = best();
    if (!a)
        return {};
    const run found = find_run(*a, uint32_t(owners.size()));
    ASSERT(found.count != 0);
    for (uint32_t i = 0; i < found.count; i++)
        a->owner(found.first + i) = owners[i];
    a->used += found.count;
    free_slots -= found.count;
    a->hint = found.first + found.count;
    return {number(*a, found.first), found.count};
}

void free(swap_slot slot) {
    lock_guard guard(swap_lock);
    area& a = area_of(slot);
    slot_owner& owner = a.owner(place_of(slot));
    ASSERT(owner && owner != slot_owner::unusable());
    owner = slot_owner();
    a.used--;
    if (!a.closing)
        free_slots++;
}

void give_up(swap_slot slot) {
    lock_guard guard(swap_lock);
    area& a = area_of(slot);
    a.owner(place_of(slot)) = slot_owner::unusable();
    a.used--;
    a.usable--;
    if (!a.closing)
        usable_pages--;
}

slot_place place(swap_slot slot) {
    lock_guard guard(swap_lock);
    return {area_of(slot).on, place_of(slot)};
}

status transfer(disk_operation operation, swap_slot first, std::span<vm_page* const> pages) {
    disk_segment segments[cluster];
    ASSERT(pages.size() <= cluster);
    for (size_t i = 0; i < pages.size(); i++)
        segments[i] = {pages[i]->physical(), page_size};
    const slot_place at = place(first);
    disk_request r{.operation = operation,
                   .sector = at.page * (page_size / sector_size),
                   .segments = {segments, pages.size()}};
    disk_wait wait;
    wait.submit(*at.area, r);
    return wait.all();
}

// ---- On --------------------------------------------------------------------------------------

namespace {

void free_owners(area& a) {
    for (size_t i = 0; a.owners && i < a.owner_pages(); i++)
        if (a.owners[i])
            kmem_free(a.owners[i], page_size);
    kmem_free(a.owners, a.owner_pages() * sizeof *a.owners);
}

status make_owners(area& a) {
    a.owners = static_cast<slot_owner**>(kmem_zalloc(a.owner_pages() * sizeof *a.owners));
    if (!a.owners)
        return fail(Errno::nomem);
    for (size_t i = 0; i < a.owner_pages(); i++) {
        a.owners[i] = static_cast<slot_owner*>(kmem_zalloc(page_size));
        if (!a.owners[i])
            return fail(Errno::nomem);
        TRY(long_work::go_on());
    }
    return {};
}

// What the header says. EINVAL: it is none, or one that we do not know.
status take_header(const header& h, area& a) {
    if (!h.known())
        return fail(Errno::inval);
    const uint64_t pages = a.on->is.sectors / (page_size / sector_size);
    a.slots =
        uint32_t(std::min<uint64_t>({uint64_t{h.last_page} + 1, pages, (1u << area_shift) - 1}));
    if (a.slots < 2)
        return fail(Errno::inval);
    TRY(make_owners(a));
    a.owner(0) = slot_owner::unusable();
    a.usable = a.slots - 1;
    for (uint32_t i = 0; i < h.bad_pages; i++) {
        const uint32_t bad = h.bad[i];
        if (bad == 0 || bad > h.last_page)
            return fail(Errno::inval);
        if (bad < a.slots && !a.taken(bad)) {
            a.owner(bad) = slot_owner::unusable();
            a.usable--;
        }
    }
    return {};
}

status read_header(disk& d, area& a) {
    owned_page page(vm_page_alloc(page_owner::kernel));
    if (!page)
        return fail(Errno::nomem);
    disk_segment segment{page->physical(), page_size};
    disk_request r{.operation = disk_operation::read, .sector = 0, .segments = {&segment, 1}};
    disk_wait wait;
    wait.submit(d, r);
    TRY(wait.all());
    return take_header(*static_cast<const header*>(page->data()), a);
}

// The place for a new area; null: there are areas enough.
area* free_place() REQUIRES(swap_lock) {
    for (area& a : areas)
        if (!a.on)
            return &a;
    return nullptr;
}

status begin(disk& d, int priority, area& made) {
    if (d.is.read_only)
        return fail(Errno::rofs);
    if (d.is.sectors < 2 * page_size / sector_size || d.is.most_segments < cluster)
        return fail(Errno::inval);
    {
        lock_guard guard(swap_lock);
        if (overlaps(d))
            return fail(Errno::busy);
    }
    made.on = &d;
    TRY(read_header(d, made));
    lock_guard guard(swap_lock);
    if (overlaps(d)) // another was first
        return fail(Errno::busy);
    area* place = free_place();
    if (!place)
        return fail(Errno::perm);
    made.priority = priority >= 0 ? priority : lowest_priority--;
    usable_pages += made.usable;
    free_slots += made.usable;
    *place = std::exchange(made, area{});
    return {};
}

} // namespace

status on(disk& d, int priority) {
    area made;
    const status begun = begin(d, priority, made);
    if (!begun)
        free_owners(made);
    return begun;
}

// ---- Off -------------------------------------------------------------------------------------

expected<slot_range> begin_off(disk& d) {
    lock_guard guard(swap_lock);
    area* a = find(d);
    if (!a)
        return fail(Errno::inval);
    if (a->closing)
        return fail(Errno::busy);
    a->closing = true;
    usable_pages -= a->usable;
    free_slots -= a->usable - a->used;
    return slot_range{number(*a, 1), number(*a, a->slots)};
}

void end_off(disk& d, bool emptied) {
    area gone;
    {
        lock_guard guard(swap_lock);
        area& a = *find(d);
        if (emptied) {
            ASSERT(a.used == 0);
            gone = std::exchange(a, area{});
        } else {
            a.closing = false;
            usable_pages += a.usable;
            free_slots += a.usable - a.used;
        }
    }
    free_owners(gone);
}

void look_at_owner(swap_slot slot, void look(void* context, slot_owner owner), void* context) {
    lock_guard guard(swap_lock);
    const slot_owner owner = area_of(slot).owner(place_of(slot));
    look(context, owner == slot_owner::unusable() ? slot_owner() : owner);
}

// ---- Looking ---------------------------------------------------------------------------------

bool look(unsigned n, facts& found) {
    lock_guard guard(swap_lock);
    for (const area& a : areas) {
        if (!a.on || n-- != 0)
            continue;
        found = {a.on, a.usable, a.used, a.priority};
        return true;
    }
    return false;
}

uint64_t pages() { return usable_pages.load(std::memory_order_relaxed); }
bool full() { return free_slots.load(std::memory_order_relaxed) == 0; }

// ---- Checking --------------------------------------------------------------------------------

void check() {
    lock_guard guard(swap_lock);
    uint64_t usable = 0, free = 0;
    for (area& a : areas) {
        uint64_t good = 0, used = 0;
        for (uint32_t n = 0; n < a.slots; n++) {
            good += a.owner(n) != slot_owner::unusable();
            used += a.taken(n) && a.owner(n) != slot_owner::unusable();
        }
        ASSERT(good == a.usable && used == a.used);
        if (a.on && !a.closing) {
            usable += good;
            free += good - used;
        }
    }
    ASSERT(usable == usable_pages.load() && free == free_slots.load());
}

void check_owner(swap_slot slot, slot_owner owner) {
    lock_guard guard(swap_lock);
    const area& a = area_of(slot);
    if (!a.on || area_of(slot).owner(place_of(slot)) != owner) [[unlikely]]
        panic("broken rule: swap: a slot is of the one page that was put out to it: slot %u is not "
              "of who has it",
              slot);
}

totals total() { return {pages(), free_slots.load(std::memory_order_relaxed)}; }

} // namespace uvm_swap

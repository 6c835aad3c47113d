// The physical memory allocator: a binary buddy system with a stack of single pages before it.
//
// All vm_pages are one array, from the lowest to the highest usable frame, so that a page's
// frame number is its place in the array; frames in between that are not ours are `reserved`.
//
// Free memory is in blocks of 2^order pages, aligned to their size (Knuth, vol. 1, section 2.5;
// Peterson and Norman, "Buddy systems", CACM 20(6), 1977). Two free buddies, blocks whose frame
// numbers differ in bit `order` alone, are always joined. Nearly all traffic is in single pages,
// for which splitting and joining would be wasted work: up to max_singles of them wait on a
// stack, last freed first taken, and return to the buddies when a large block is wanted.
#include "vm/vm_page.h"

#include "arch/boot_info.h"
#include "arch/pmap.h"
#include "lib/assert.h"
#include "lib/trace.h"
#include "vm/pool.h"
#include "vm/sanitize.h"

#include <algorithm>
#include <bit>
#include <new>

namespace {

using page_list = list<vm_page, &vm_page::queue>;

constexpr unsigned max_order = 10;
constexpr unsigned refill_order = 4; // what the stack of singles takes from the buddies at once
constexpr uint64_t max_singles = 256;
// Values of block_order in free pages that do not head a block.
constexpr uint16_t inside_block = 0xffff, single_page = 0xfffe;
constexpr size_t owner_kinds = size_t(page_owner::reserved) + 1;

vm_page* pages;                    // set once at boot
uint64_t first_frame, frame_count; // what pages[] covers

constinit spin_lock queue_lock{lock_rank::page_queues, "free pages"};
constinit page_list blocks[max_order + 1] GUARDED_BY(queue_lock);
constinit page_list singles GUARDED_BY(queue_lock);
constinit uint64_t singles_count GUARDED_BY(queue_lock) = 0;
constinit uint64_t count_of[owner_kinds] GUARDED_BY(queue_lock) = {};

uint64_t frame_of(const vm_page& page) {
    return first_frame + static_cast<uint64_t>(&page - pages);
}

bool has_frame(uint64_t frame) { return frame - first_frame < frame_count; }
vm_page& page_at(uint64_t frame) { return pages[frame - first_frame]; }

// Puts a block of free pages among the buddies and joins it with its neighbours.
void insert_block(vm_page* page, unsigned order) REQUIRES(queue_lock) {
    uint64_t frame = frame_of(*page);
    while (order < max_order) {
        uint64_t buddy_frame = frame ^ (uint64_t{1} << order);
        if (!has_frame(buddy_frame))
            break;
        vm_page& buddy = page_at(buddy_frame);
        if (buddy.owner_kind != page_owner::free || buddy.block_order != order)
            break;
        blocks[order].remove(buddy);
        buddy.block_order = inside_block;
        frame = std::min(frame, buddy_frame);
        order++;
    }
    vm_page& head = page_at(frame);
    head.block_order = static_cast<uint16_t>(order);
    blocks[order].push_front(head);
}

// Takes a block of exactly `order` from the buddies, splitting a larger one. Null if none is.
vm_page* take_block(unsigned order) REQUIRES(queue_lock) {
    unsigned found = order;
    while (found <= max_order && blocks[found].empty())
        found++;
    if (found > max_order)
        return nullptr;
    vm_page* page = blocks[found].pop_front();
    while (found > order) {
        found--;
        vm_page* upper_half = page + (size_t{1} << found);
        upper_half->block_order = static_cast<uint16_t>(found);
        blocks[found].push_front(*upper_half);
    }
    page->block_order = inside_block;
    return page;
}

void push_single(vm_page& page) REQUIRES(queue_lock) {
    page.block_order = single_page;
    singles.push_front(page);
    singles_count++;
}

vm_page* pop_single() REQUIRES(queue_lock) {
    vm_page* page = singles.pop_front();
    if (page)
        singles_count--;
    return page;
}

// Moves a block of up to 2^refill_order pages to the stack. False if there is no free memory.
bool refill_singles() REQUIRES(queue_lock) {
    for (unsigned order = refill_order + 1; order-- > 0;) {
        vm_page* block = take_block(order);
        if (!block)
            continue;
        for (size_t i = size_t{1} << order; i-- > 0;)
            push_single(block[i]);
        return true;
    }
    return false;
}

void drain_singles() REQUIRES(queue_lock) {
    while (vm_page* page = pop_single()) {
        page->block_order = inside_block;
        insert_block(page, 0);
    }
}

void become_owned(vm_page& page, page_owner kind) {
    page.owner_kind = kind;
    page.clean = true;
    page.anon = nullptr;
    page.index = 0;
    page.md = {};
}

void become_free(vm_page& page) {
    ASSERT(page.owner_kind != page_owner::free && page.owner_kind != page_owner::reserved);
    ASSERT(page.wire_count == 0 && !page.md.mapped() && !page.queue.linked());
    page.owner_kind = page_owner::free;
    page.block_order = inside_block;
}

// Frees [first, last), frames that are `reserved` so far, in the largest blocks that fit.
void adopt_frames(uint64_t first, uint64_t last) {
    for (uint64_t frame = first; frame < last;) {
        unsigned order =
            std::min<unsigned>(max_order, static_cast<unsigned>(std::countr_zero(frame)));
        while (frame + (uint64_t{1} << order) > last)
            order--;
        const uint64_t size = uint64_t{1} << order;
        lock_guard guard(queue_lock);
        for (uint64_t i = 0; i < size; i++) {
            vm_page& page = page_at(frame + i);
            ASSERT(page.owner_kind == page_owner::reserved);
            page.owner_kind = page_owner::free;
            page.block_order = inside_block;
        }
        count_of[size_t(page_owner::reserved)] -= size;
        count_of[size_t(page_owner::free)] += size;
        sanitize_poison(page_at(frame).data(), size * page_size);
        insert_block(&page_at(frame), order);
        frame += size;
    }
}

struct frame_range {
    uint64_t first, last; // [first, last)
    uint64_t size() const { return last - first; }
};

// The whole pages of a range of bytes. Frame 0 is never used: its address looks like none.
frame_range whole_frames(paddr_t start, uint64_t size) {
    uint64_t first = std::max<uint64_t>(pages_of(start.value()), 1);
    uint64_t last = (start.value() + size) >> page_shift;
    return {first, std::max(first, last)};
}

} // namespace

void vm_page_init(boot_info& info) {
    frame_range usable[boot_info::max_ranges];
    size_t count = 0;
    for (size_t i = 0; i < info.range_count; i++) {
        if (!info.ranges[i].usable)
            continue;
        frame_range r = whole_frames(info.ranges[i].start, info.ranges[i].size);
        if (r.size() != 0)
            usable[count++] = r;
    }
    std::sort(usable, usable + count,
              [](const frame_range& a, const frame_range& b) { return a.first < b.first; });
    ASSERT(count != 0);

    // The array lies at the start of the largest range. A range so far up that describing the
    // gap before it takes more than there is, is left unused.
    frame_range* home;
    uint64_t array_pages;
    for (;; count--) {
        ASSERT(count != 0);
        home = std::max_element(usable, usable + count,
                                [](const auto& a, const auto& b) { return a.size() < b.size(); });
        first_frame = usable[0].first;
        frame_count = usable[count - 1].last - first_frame;
        array_pages = pages_of(frame_count * sizeof(vm_page));
        if (array_pages < home->size() / 2 || count == 1)
            break;
    }
    ASSERT(array_pages < home->size());
    pages = direct_map_as<vm_page>(paddr_t(home->first << page_shift));
    home->first += array_pages;
    for (uint64_t i = 0; i < frame_count; i++)
        (new (&pages[i]) vm_page)->owner_kind = page_owner::reserved;
    {
        lock_guard guard(queue_lock);
        count_of[size_t(page_owner::reserved)] = frame_count;
    }
    for (size_t i = 0; i < count; i++)
        adopt_frames(usable[i].first, usable[i].last);
}

void vm_page_add_range(paddr_t start, uint64_t size) {
    frame_range r = whole_frames(start, size);
    uint64_t first = std::max(r.first, first_frame);
    uint64_t last = std::min(r.last, first_frame + frame_count);
    if (first < last)
        adopt_frames(first, last);
}

vm_page* vm_page_alloc(page_owner kind, bool zeroed) {
    ASSERT(kind != page_owner::free && kind != page_owner::reserved);
    if (alloc_should_fail()) [[unlikely]]
        return nullptr;
    vm_page* page;
    {
        lock_guard guard(queue_lock);
        if (singles_count == 0 && !refill_singles()) [[unlikely]]
            return nullptr;
        page = pop_single();
        count_of[size_t(page_owner::free)]--;
        count_of[size_t(kind)]++;
        // Under the lock: whoever joins buddies looks at owner_kind.
        become_owned(*page, kind);
    }
    void* data = page->data();
    sanitize_unpoison(data, page_size);
    TRACE(page_allocated, .page = page->physical(), .kind = trace::page_kind(kind), .pages = 1);
    if (zeroed) {
        zero_page(data);
        TRACE(page_zeroed, .page = page->physical());
    }
    return page;
}

void vm_page_free(vm_page* page) {
    sanitize_poison(page->data(), page_size);
    const page_owner kind = page->owner_kind;
    {
        lock_guard guard(queue_lock);
        count_of[size_t(kind)]--;
        count_of[size_t(page_owner::free)]++;
        become_free(*page);
        if (singles_count < max_singles)
            push_single(*page);
        else
            insert_block(page, 0);
    }
    TRACE(page_freed, .page = page->physical(), .kind = trace::page_kind(kind), .pages = 1);
}

vm_page* vm_page_alloc_contiguous(unsigned order, page_owner kind) {
    ASSERT(order <= max_order);
    if (order == 0)
        return vm_page_alloc(kind);
    if (alloc_should_fail()) [[unlikely]]
        return nullptr;
    const size_t n = size_t{1} << order;
    vm_page* block;
    {
        lock_guard guard(queue_lock);
        block = take_block(order);
        if (!block) {
            drain_singles();
            block = take_block(order);
        }
        if (!block)
            return nullptr;
        count_of[size_t(page_owner::free)] -= n;
        count_of[size_t(kind)] += n;
        for (size_t i = 0; i < n; i++)
            become_owned(block[i], kind);
    }
    sanitize_unpoison(block->data(), n << page_shift);
    TRACE(page_allocated, .page = block->physical(), .kind = trace::page_kind(kind),
          .pages = uint32_t(n));
    return block;
}

void vm_page_free_contiguous(vm_page* page, unsigned order) {
    ASSERT(order <= max_order);
    const size_t n = size_t{1} << order;
    ASSERT((frame_of(*page) & (n - 1)) == 0);
    if (order == 0)
        return vm_page_free(page);
    sanitize_poison(page->data(), n << page_shift);
    const page_owner kind = page->owner_kind;
    {
        lock_guard guard(queue_lock);
        for (size_t i = 0; i < n; i++) {
            ASSERT(page[i].owner_kind == kind);
            become_free(page[i]);
        }
        count_of[size_t(kind)] -= n;
        count_of[size_t(page_owner::free)] += n;
        insert_block(page, order);
    }
    TRACE(page_freed, .page = page->physical(), .kind = trace::page_kind(kind),
          .pages = uint32_t(n));
}

paddr_t vm_page::physical() const { return paddr_t(frame_of(*this) << page_shift); }

vm_page* vm_page_of(paddr_t pa) {
    uint64_t frame = pa.value() >> page_shift;
    if (!has_frame(frame))
        return nullptr;
    vm_page& page = page_at(frame);
    return page.owner_kind == page_owner::reserved ? nullptr : &page;
}

vm_page_statistics vm_page_get_statistics() {
    lock_guard guard(queue_lock);
    return vm_page_look_at_statistics();
}

vm_page_statistics vm_page_look_at_statistics() NO_THREAD_SAFETY_ANALYSIS {
    auto n = [](page_owner kind) NO_THREAD_SAFETY_ANALYSIS { return count_of[size_t(kind)]; };
    return {.total = frame_count - n(page_owner::reserved),
            .free = n(page_owner::free),
            .kernel = n(page_owner::kernel),
            .page_table = n(page_owner::page_table),
            .anon = n(page_owner::anon),
            .object = n(page_owner::object)};
}

uint64_t vm_page_count_mapped() {
    uint64_t n = 0;
    for (uint64_t i = 0; i < frame_count; i++)
        n += pages[i].owner_kind == page_owner::object && pages[i].md.mapped();
    return n;
}

uint64_t vm_page_count_wired() {
    uint64_t n = 0;
    for (uint64_t i = 0; i < frame_count; i++)
        n += pages[i].md.mapped() && pmap::is_wired(pages[i]);
    return n;
}

void vm_page_check() {
    lock_guard guard(queue_lock);
    uint64_t counted[owner_kinds] = {};
    for (uint64_t i = 0; i < frame_count; i++) {
        const vm_page& page = pages[i];
        counted[size_t(page.owner_kind)]++;
        if (page.owner_kind == page_owner::free) {
            ASSERT(page.wire_count == 0 && !page.md.mapped());
            ASSERT(page.queue.linked() == (page.block_order != inside_block));
        }
    }
    for (size_t kind = 0; kind < owner_kinds; kind++)
        ASSERT(counted[kind] == count_of[kind]);

    uint64_t in_lists = singles.size();
    ASSERT(in_lists == singles_count);
    for (unsigned order = 0; order <= max_order; order++) {
        for (const vm_page& head : blocks[order]) {
            ASSERT(head.block_order == order);
            ASSERT((frame_of(head) & ((uint64_t{1} << order) - 1)) == 0);
            for (uint64_t i = 0; i < uint64_t{1} << order; i++)
                ASSERT((&head)[i].owner_kind == page_owner::free);
            in_lists += uint64_t{1} << order;
        }
    }
    ASSERT(in_lists == count_of[size_t(page_owner::free)]);
}

// The physical memory allocator: a binary buddy system with a stock of single pages before it for
// each processor.
//
// All vm_pages are one array, from the lowest to the highest usable frame, so that a page's
// frame number is its place in the array; frames in between that are not ours are `reserved`.
//
// Free memory is in blocks of 2^order pages, aligned to their size (Knuth, vol. 1, section 2.5;
// Peterson and Norman, "Buddy systems", CACM 20(6), 1977). Two free buddies, blocks whose frame
// numbers differ in bit `order` alone, are always joined. Nearly all traffic is in single pages,
// for which splitting, joining and a lock would be wasted work: a few of them wait with the
// processor that freed them, last freed first taken (Bonwick and Adams, "Magazines and Vmem",
// USENIX 2001). They are free pages like all others: counted as such, taken by another processor
// that finds no more, and returned to the buddies when a large block is wanted.
#include "vm/phys/vm_page.h"

#include "arch/boot_info.h"
#include "arch/cpu.h"
#include "arch/pmap.h"
#include "lib/assert.h"
#include "lib/long_work.h"
#include "lib/sanitize.h"
#include "vm/phys/alloc_fail.h"
#include "vm/phys/event.h"
#include "vm/phys/magazine.h"

#include <algorithm>
#include <bit>
#include <new>
#include <span>

constinit std::atomic<bool> vm_page_are_low{false};

namespace {

using page_list = list<vm_page, &vm_page::queue>;

constexpr unsigned max_order = 10;
constexpr unsigned refill_order = 5; // what a stock takes from the buddies at once
constexpr unsigned stock_size = 64;
constexpr unsigned spilled = stock_size / 2; // what a full one gives back at once
// Values of block_order in pages that do not head a free block. Its neighbours' are looked at under
// the lock of the buddies, while other processors, without it, give such pages out and take them back.
constexpr unsigned inside_block = 0xff, in_stock = 0xfe;
unsigned order_of(const vm_page& page) { return page.block_order.load(std::memory_order_relaxed); }
void set_order(vm_page& page, unsigned order) {
    page.block_order.store(static_cast<uint8_t>(order), std::memory_order_relaxed);
}
constexpr size_t owner_kinds = size_t(page_owner::reserved) + 1;

vm_page* pages;                     // set once at boot
uint64_t first_frame, frame_count;  // what pages[] covers
std::atomic<uint64_t> total_pages;  // of them, those that are not reserved
std::atomic<uint64_t> reserve, low; // vm_page_set_reserve()

constinit spin_lock queue_lock{lock_rank::page_queues, "free pages"};
constinit page_list blocks[max_order + 1] GUARDED_BY(queue_lock);

// Free pages of one processor.
struct page_stack : magazine<vm_page, stock_size> {
    void push(vm_page& page) {
        set_order(page, in_stock);
        magazine::push(page);
    }
};

// A processor's own free pages, and its part of the counts.
struct alignas(64) page_stock {
    page_stack used;   // of unknown contents
    page_stack zeroed; // page tables were: what is unmapped leaves zeros
    // Pages by owner, as differences: the sums over all processors are the counts. Others read.
    std::atomic<uint64_t> count_of[owner_kinds] = {};

    void recount(page_owner from, page_owner to, uint64_t n = 1) {
        auto add = [](std::atomic<uint64_t>& count, uint64_t by) {
            count.store(count.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
        };
        add(count_of[size_t(from)], -n);
        add(count_of[size_t(to)], n);
    }
};
constinit page_stock stocks[max_cpus];

// The calling processor's, until it sleeps. No interrupt handler asks for memory.
page_stock& own_stock() {
    CHECK_ASSERT(!cpu::in_interrupt());
    return stocks[cpu::id()];
}

uint64_t counted(page_owner kind) {
    uint64_t sum = 0;
    for (const page_stock& s : stocks)
        sum += s.count_of[size_t(kind)].load(std::memory_order_relaxed);
    return sum;
}

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
        if (order_of(buddy) != order)
            break;
        blocks[order].remove(buddy);
        set_order(buddy, inside_block);
        frame = std::min(frame, buddy_frame);
        order++;
    }
    vm_page& head = page_at(frame);
    set_order(head, order);
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
        set_order(*upper_half, found);
        blocks[found].push_front(*upper_half);
    }
    set_order(*page, inside_block);
    return page;
}

// Whether what is free is the kernel's alone.
bool is_reserved_from(page_owner kind) {
    const uint64_t kept = reserve.load(std::memory_order_relaxed);
    if (kept == 0 || (kind != page_owner::anon && kind != page_owner::object))
        return false;
    const uint64_t free = counted(page_owner::free);
    if (free <= low.load(std::memory_order_relaxed))
        vm_page_are_low.store(true, std::memory_order_relaxed);
    return free <= kept;
}

// A page for a processor whose stock is empty, and with it more of them; null if there is no free
// memory. Out of line, so that the usual case saves no registers for it.
[[gnu::noinline, gnu::cold]] vm_page* refill(page_stock& stock, page_owner kind) {
    if (is_reserved_from(kind))
        return nullptr;
    {
        lock_guard guard(queue_lock);
        for (unsigned order = refill_order + 1; order-- > 0;) {
            vm_page* block = take_block(order);
            if (!block)
                continue;
            for (size_t i = size_t{1} << order; --i > 0;)
                stock.used.push(block[i]);
            return block;
        }
    }
    // What is left lies among the zeroed ones, or with other processors.
    for (page_stock& other : stocks)
        for (page_stack* stack : {&other.used, &other.zeroed})
            for (unsigned slot = stock_size; slot-- > 0;)
                if (vm_page* page = stack->take(slot))
                    return page;
    return nullptr;
}

// Free pages in a row, [frame, last), in the largest blocks that fit.
void insert_row(uint64_t frame, uint64_t last) REQUIRES(queue_lock) {
    while (frame < last) {
        unsigned order =
            std::min<unsigned>(max_order, static_cast<unsigned>(std::countr_zero(frame)));
        while (frame + (uint64_t{1} << order) > last)
            order--;
        insert_block(&page_at(frame), order);
        frame += uint64_t{1} << order;
    }
}

void return_to_buddies(vm_page& page) REQUIRES(queue_lock) {
    set_order(page, inside_block);
    insert_block(&page, 0);
}

// Makes room in a full stack: the pages that have been in it longest go.
[[gnu::noinline, gnu::cold]] void spill(page_stack& stack) {
    lock_guard guard(queue_lock);
    // Memory that was taken in order mostly comes back in order: then a row is joined at once, not
    // page by page.
    uint64_t first = 0, last = 0;
    for (unsigned slot = 0; slot < spilled; slot++) {
        vm_page* page = stack.take(slot);
        if (!page)
            continue;
        const uint64_t frame = frame_of(*page);
        set_order(*page, inside_block);
        if (frame != last) {
            insert_row(first, last);
            first = frame;
        }
        last = frame + 1;
    }
    insert_row(first, last);
    stack.close_up(spilled);
}

// All stocks to the buddies, so that they may join. Those of other processors may fill again
// meanwhile: they are emptied as they are found.
void drain_stocks() REQUIRES(queue_lock) {
    for (page_stock& stock : stocks)
        for (page_stack* stack : {&stock.used, &stock.zeroed})
            for (unsigned slot = 0; slot < stock_size; slot++)
                if (vm_page* page = stack->take(slot))
                    return_to_buddies(*page);
}

void become_owned(vm_page& page, page_owner kind) {
    page.owner_kind = kind;
    page.queued = page.wanted = page.released = page.rests = false;
    page.unused_flags = 0;
    page.clean = true;
    page.anon = nullptr;
    page.index = 0;
    new (&page.md) page_machine;
}

void become_free(vm_page& page) {
    ASSERT(page.owner_kind != page_owner::free && page.owner_kind != page_owner::reserved);
    ASSERT(page.wire_count == 0 && !page.md.mapped() && !page.queue.linked());
    page.owner_kind = page_owner::free;
    set_order(page, inside_block);
}

// Makes the vm_pages of [first, last) anew: nobody's, or free ones that no list has yet.
void make_frames(uint64_t first, uint64_t last, page_owner kind) {
    vm_page* const made = &page_at(first);
    for (vm_page* page = made; page != made + (last - first); page++)
        new (page) vm_page{.owner_kind = kind, .block_order = inside_block};
}

// Hands [first, last), which counted as reserved and are made as free, to the buddies, in the
// largest blocks that fit.
void adopt_frames(uint64_t first, uint64_t last) {
    own_stock().recount(page_owner::reserved, page_owner::free, last - first);
    total_pages += last - first;
    lock_guard guard(queue_lock);
    sanitize_poison(page_at(first).data(), (last - first) * page_size);
    insert_row(first, last);
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
    stocks[0].count_of[size_t(page_owner::reserved)] = frame_count;
    uint64_t reached = first_frame;
    for (const frame_range& r : std::span(usable, count)) {
        ASSERT(r.first >= reached);
        make_frames(reached, r.first, page_owner::reserved);
        make_frames(r.first, r.last, page_owner::free);
        reached = r.last;
    }
    for (const frame_range& r : std::span(usable, count))
        adopt_frames(r.first, r.last);
}

void vm_page_add_range(paddr_t start, uint64_t size) {
    frame_range r = whole_frames(start, size);
    uint64_t first = std::max(r.first, first_frame);
    uint64_t last = std::min(r.last, first_frame + frame_count);
    for (uint64_t frame = first; frame < last; frame++)
        ASSERT(page_at(frame).owner_kind == page_owner::reserved);
    if (first < last) {
        make_frames(first, last, page_owner::free);
        adopt_frames(first, last);
    }
}

static vm_page* allocate(page_owner kind, bool zeroed, bool urgent) {
    CHECK_ASSERT(kind != page_owner::free && kind != page_owner::reserved);
    if (alloc_should_fail()) [[unlikely]]
        return nullptr;
    page_stock& stock = own_stock();
    vm_page* page = zeroed ? stock.zeroed.pop() : nullptr;
    const bool is_zero = page;
    if (!page && !(page = stock.used.pop()) &&
        !(page = refill(stock, urgent ? page_owner::kernel : kind))) [[unlikely]]
        return nullptr;
    stock.recount(page_owner::free, kind);
    become_owned(*page, kind);
    void* data = page->data();
    sanitize_unpoison(data, page_size);
    EVENT(page_allocated, .page = page->physical(), .kind = trace::page_kind(kind), .pages = 1);
    if (zeroed) {
        if (!is_zero)
            zero_page(data);
        EVENT(page_zeroed, .page = page->physical(), .kind = trace::page_kind(kind));
    }
    return page;
}

vm_page* vm_page_alloc(page_owner kind, bool zeroed) { return allocate(kind, zeroed, false); }
vm_page* vm_page_alloc_urgently(page_owner kind, bool zeroed) {
    return allocate(kind, zeroed, true);
}

static void free_to(page_stack page_stock::* stack, vm_page* page) {
    sanitize_poison(page->data(), page_size);
    const page_owner kind = page->owner_kind;
    page_stock& stock = own_stock();
    stock.recount(kind, page_owner::free);
    become_free(*page);
    page_stack& to = stock.*stack;
    if (to.full()) [[unlikely]]
        spill(to);
    to.push(*page);
    EVENT(page_freed, .page = page->physical(), .kind = trace::page_kind(kind), .pages = 1);
}

void vm_page_free(vm_page* page) { free_to(&page_stock::used, page); }
void vm_page_free_zeroed(vm_page* page) { free_to(&page_stock::zeroed, page); }

static vm_page* take_contiguous(unsigned order, page_owner kind) {
    const size_t n = size_t{1} << order;
    lock_guard guard(queue_lock);
    vm_page* block = take_block(order);
    if (!block) {
        drain_stocks();
        block = take_block(order);
    }
    if (!block)
        return nullptr;
    own_stock().recount(page_owner::free, kind, n);
    for (size_t i = 0; i < n; i++)
        become_owned(block[i], kind);
    return block;
}

vm_page* vm_page_alloc_contiguous(unsigned order, page_owner kind, bool (*make_room)()) {
    ASSERT(order <= max_order);
    if (order == 0)
        return vm_page_alloc(kind);
    if (alloc_should_fail()) [[unlikely]]
        return nullptr;
    const size_t n = size_t{1} << order;
    vm_page* block = take_contiguous(order, kind);
    if (!block && make_room && make_room())
        block = take_contiguous(order, kind);
    if (!block)
        return nullptr;
    sanitize_unpoison(block->data(), n << page_shift);
    EVENT(page_allocated, .page = block->physical(), .kind = trace::page_kind(kind),
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
        own_stock().recount(kind, page_owner::free, n);
        insert_block(page, order);
    }
    EVENT(page_freed, .page = page->physical(), .kind = trace::page_kind(kind),
          .pages = uint32_t(n));
}

uint64_t vm_page_count_free() { return counted(page_owner::free); }
uint64_t vm_page_get_reserve() { return reserve.load(std::memory_order_relaxed); }
void vm_page_set_reserve(vm_page_marks marks) {
    low.store(marks.low, std::memory_order_relaxed);
    reserve.store(marks.reserve, std::memory_order_relaxed);
}

paddr_t vm_page::physical() const { return paddr_t(frame_of(*this) << page_shift); }

vm_page* vm_page_of(paddr_t pa) {
    uint64_t frame = pa.value() >> page_shift;
    if (!has_frame(frame))
        return nullptr;
    vm_page& page = page_at(frame);
    return page.owner_kind == page_owner::reserved ? nullptr : &page;
}

uint64_t vm_page_total() { return total_pages.load(std::memory_order_relaxed); }

vm_page_statistics vm_page_get_statistics() {
    return {.total = vm_page_total(),
            .free = counted(page_owner::free),
            .kernel = counted(page_owner::kernel),
            .page_table = counted(page_owner::page_table),
            .anon = counted(page_owner::anon),
            .object = counted(page_owner::object)};
}

uint64_t vm_page_in_stocks() {
    uint64_t n = 0;
    for (const page_stock& stock : stocks)
        n += stock.used.count() + stock.zeroed.count();
    return n;
}

uint64_t vm_page_count_mapped() {
    uint64_t n = 0;
    for (uint64_t i = 0; i < frame_count; i++) {
        n += pages[i].owner_kind == page_owner::object && pages[i].md.mapped();
        if (i % 1024 == 0)
            long_work::pause();
    }
    return n;
}

uint64_t vm_page_count_wired() {
    uint64_t n = 0;
    for (uint64_t i = 0; i < frame_count; i++) {
        n += pages[i].md.mapped() && pmap::is_wired(pages[i]);
        if (i % 1024 == 0)
            long_work::pause();
    }
    return n;
}

NO_SANITIZE_ADDRESS static bool is_zero(const uint64_t* word) {
    for (size_t i = 0; i < page_size / sizeof *word; i++)
        if (word[i] != 0)
            return false;
    return true;
}

static bool zeroed_pages_are_zero() {
    for (page_stock& stock : stocks)
        for (const auto& slot : stock.zeroed.slots)
            if (const vm_page* page = slot.load(std::memory_order_acquire))
                if (!is_zero(static_cast<uint64_t*>(page->data())))
                    return false;
    return true;
}

// Whether pages, counts and stocks agree. They may not for a moment: other processors take pages
// from their stocks, and give them back, without the lock.
static bool agree() {
    lock_guard guard(queue_lock);
    uint64_t seen[owner_kinds] = {}, listed = 0, stocked = 0;
    for (uint64_t i = 0; i < frame_count; i++) {
        const vm_page& page = pages[i];
        seen[size_t(page.owner_kind)]++;
        if (page.owner_kind == page_owner::free) {
            if (page.wire_count != 0 || page.md.mapped() || page.busy ||
                page.queue.linked() != (order_of(page) <= max_order))
                return false;
            stocked += order_of(page) == in_stock;
        }
    }
    for (unsigned order = 0; order <= max_order; order++) {
        for (const vm_page& head : blocks[order]) {
            ASSERT(order_of(head) == order);
            ASSERT((frame_of(head) & ((uint64_t{1} << order) - 1)) == 0);
            for (uint64_t i = 0; i < uint64_t{1} << order; i++)
                ASSERT((&head)[i].owner_kind == page_owner::free);
            listed += uint64_t{1} << order;
        }
    }
    for (size_t kind = 0; kind < owner_kinds; kind++)
        if (seen[kind] != counted(page_owner(kind)))
            return false;
    return zeroed_pages_are_zero() &&
           seen[size_t(page_owner::reserved)] + vm_page_total() == frame_count &&
           stocked == vm_page_in_stocks() && listed + stocked == counted(page_owner::free);
}

void vm_page_check() {
    constexpr unsigned patience = 100;
    unsigned looks = 0;
    while (!agree())
        if (++looks == patience)
            panic("free pages: pages, counts and stocks do not agree");
}

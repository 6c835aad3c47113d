// A pool hands out objects of one size from slabs: blocks of 2^order pages with a header in front.
//
//     | header | object | object | ... | object | rest |
//
// Freed objects of a slab are linked through their first word; those never used yet are carved
// off one after the other, so that a new slab is not touched as a whole. A slab is found from an
// object by rounding the address down to a page, and by that page's place in the slab. After
// Bonwick's slab allocator (USENIX Summer 1994), without its per-type constructors.
//
// In front of the slabs each processor has a magazine of free objects, which slabs count as handed out
// (Bonwick and Adams, USENIX 2001, whose magazines are exchanged as a whole; here half of one is
// filled or emptied at a time).
//
// Builds with checks write a mark into the second word of a freed object and look at it when
// the object is handed out again: a store through a stale pointer, or a second free, is found.
#include "vm/phys/pool.h"

#include "lib/assert.h"
#include "lib/sanitize.h"
#include "vm/phys/alloc_fail.h"
#include "vm/phys/vm_page.h"

#include <algorithm>

namespace {

constexpr unsigned max_slab_order = 10;
constexpr unsigned kept_empty_slabs = 4;
constexpr uintptr_t freed_mark = 0xf4ee'd0b1'ec70'0000;

constinit std::atomic<pool_base*> all_pools{nullptr};

constexpr size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

} // namespace

struct pool_base::free_object {
    free_object* next; // of those that a slab has
    uintptr_t mark;

    // Whether it had not been set; always, in builds without checks.
    NO_SANITIZE_ADDRESS bool set_mark() {
#if SPORK_CHECKS
        const uintptr_t mine = freed_mark ^ reinterpret_cast<uintptr_t>(this), before = mark;
        mark = mine; // std::exchange() would be looked after by the sanitizer
        return before != mine;
#else
        return true;
#endif
    }
    // Whether it was still there.
    NO_SANITIZE_ADDRESS bool clear_mark() {
#if SPORK_CHECKS
        const uintptr_t before = mark;
        mark = 0;
        return before == (freed_mark ^ reinterpret_cast<uintptr_t>(this));
#else
        return true;
#endif
    }
};

struct pool_base::slab {
    slab* next; // on the pool's partial or empty list
    slab* prev;
    pool_base* owner;
    free_object* freed;
    uint16_t used;     // objects handed out
    uint16_t carved;   // objects that were ever handed out: the others are not linked yet
    uint16_t capacity; // objects that there is room for
    uint16_t order;

    char* first_object() { return reinterpret_cast<char*>(this) + owner->first_offset(); }

    // Takes one off the list of freed objects: the one that was freed last, which is in the caches;
    // or, for a sanitizer, the one that was freed first, and none while there are new ones.
    NO_SANITIZE_ADDRESS free_object* take_freed() {
        if (sanitize_delays_reuse && carved < capacity)
            return nullptr;
        free_object** link = &freed;
        if (sanitize_delays_reuse)
            while (*link && (*link)->next)
                link = &(*link)->next;
        free_object* f = *link;
        if (f)
            *link = f->next;
        return f;
    }
    NO_SANITIZE_ADDRESS void add_freed(free_object* f) {
        f->next = freed;
        freed = f;
    }
    NO_SANITIZE_ADDRESS static free_object* next_of(free_object* f) { return f->next; }
};

constexpr size_t pool_base::first_offset() const {
    return round_up(sizeof(slab), std::max<size_t>({align_, 16, sanitize_granule}));
}

namespace {

// The lists of slabs have no head node, so that a pool can be constinit.
template <class Slab> void push(Slab*& head, Slab* s) {
    s->prev = nullptr;
    s->next = head;
    if (head)
        head->prev = s;
    head = s;
}

template <class Slab> void unlink(Slab*& head, Slab* s) {
    if (s->next)
        s->next->prev = s->prev;
    if (s->prev)
        s->prev->next = s->next;
    else
        head = s->next;
}

} // namespace

// Chooses the size of slabs and puts the pool on the list of all pools. At the first allocation.
void pool_base::enlist() {
    registered_ = true;
    const size_t align = std::max({align_, alignof(free_object), sanitize_granule});
    const size_t stride = round_up(std::max(size_, sizeof(free_object)) + sanitize_redzone, align);
    ASSERT(stride <= UINT16_MAX && align_ <= page_size);
    // The smallest block that wastes at most an eighth.
    unsigned order = 0;
    for (;; order++) {
        ASSERT(order <= max_slab_order);
        size_t room = (page_size << order) - first_offset();
        if (room >= stride && room % stride + first_offset() <= (page_size << order) / 8)
            break;
    }
    order_ = static_cast<uint16_t>(order);
    stride_ = static_cast<uint16_t>(stride);
    rounds_ = sanitize_delays_reuse
                  ? 0
                  : std::clamp<unsigned>(unsigned(page_size / 2 / stride), 2, most_rounds);
    next_ = all_pools.load(std::memory_order_relaxed);
    while (!all_pools.compare_exchange_weak(next_, this, std::memory_order_release,
                                            std::memory_order_relaxed)) {
    }
}

pool_base* pool_base::first() { return all_pools.load(std::memory_order_acquire); }

pool_base::slab* pool_base::slab_of(void* object) const {
    if (order_ == 0) // a page of the direct map is aligned as the frame is
        return reinterpret_cast<slab*>(reinterpret_cast<uintptr_t>(object) & ~page_mask);
    const vm_page* page = vm_page_of(direct_map_address(object));
    return static_cast<slab*>((page - page->index)->data());
}

// A new slab, on no list. Null when out of memory. Where free pages lie scattered, as they do when
// they come from the page daemon, one page has to do, if an object fits into it.
pool_base::slab* pool_base::grow() {
    unsigned order = order_;
    vm_page* block = vm_page_alloc_contiguous(order, page_owner::kernel);
    if (!block && order != 0 && first_offset() + stride_ <= page_size) {
        order = 0;
        block = vm_page_alloc(page_owner::kernel);
    }
    if (!block)
        return nullptr;
    for (unsigned i = 0; i < 1u << order; i++)
        block[i].index = i; // for slab_of()
    pages_.store(pages_.load(std::memory_order_relaxed) + (1u << order), std::memory_order_relaxed);
    auto* s = new (block->data()) slab{};
    s->owner = this;
    s->order = static_cast<uint16_t>(order);
    s->capacity = static_cast<uint16_t>(((page_size << order) - first_offset()) / stride_);
    places_ += s->capacity;
    sanitize_poison(s->first_object(), size_t{s->capacity} * stride_);
    return s;
}

void pool_base::give_back(slab* s) {
    ASSERT(s->used == 0);
    const unsigned order = s->order;
    pages_.store(pages_.load(std::memory_order_relaxed) - (1u << order), std::memory_order_relaxed);
    places_ -= s->capacity;
    sanitize_unpoison(s, page_size << order);
    vm_page_free_contiguous(vm_page_of(direct_map_address(s)), order);
}

inline pool_base::own_objects& pool_base::mine() {
    CHECK_ASSERT(!cpu::in_interrupt());
    return magazines_[cpu::id()];
}

// Makes a slab the first of those that have room, or there is no memory for one.
bool pool_base::make_room() {
    if (!registered_)
        enlist();
    slab* s = empty_;
    if (s) {
        unlink(empty_, s);
        empty_count_--;
    } else if (!(s = grow())) {
        return false;
    }
    push(partial_, s);
    return true;
}

// Of the first slab that has room.
inline pool_base::free_object* pool_base::take_from_slab() {
    slab* s = partial_;
    free_object* f = s->take_freed();
    if (!f) {
        f = reinterpret_cast<free_object*>(s->first_object() + size_t{s->carved} * stride_);
        s->carved++;
        f->set_mark(); // as one that was freed
    }
    if (++s->used == s->capacity)
        unlink(partial_, s);
    return f;
}

void pool_base::give_to_slab(free_object* f) {
    slab* s = slab_of(f);
    s->add_freed(f);
    handed_out_.store(handed_out_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    if (s->used == s->capacity)
        push(partial_, s);
    if (--s->used != 0) [[likely]]
        return;
    unlink(partial_, s);
    if (empty_count_ < kept_empty_slabs) {
        push(empty_, s);
        empty_count_++;
    } else {
        give_back(s);
    }
}

// Where memory has run out, what other processors keep is still there.
pool_base::free_object* pool_base::take_from_others() {
    for (own_objects& others : magazines_)
        for (unsigned slot = 0; slot < rounds_; slot++)
            if (free_object* f = others.take(slot))
                return f;
    return nullptr;
}

// One object for the caller and half a magazine for this processor, as far as slabs have some.
pool_base::free_object* pool_base::refill() {
    lock_guard guard(lock_);
    if (!partial_ && !make_room()) [[unlikely]]
        return take_from_others();
    own_objects& kept = mine();
    const unsigned before = kept.height;
    free_object* const first = take_from_slab();
    while (kept.height < rounds_ / 2 && partial_)
        kept.push(*take_from_slab());
    const unsigned taken = 1 + kept.height - before;
    handed_out_.store(handed_out_.load(std::memory_order_relaxed) + taken,
                      std::memory_order_relaxed);
    return first;
}

// The object goes to this processor's magazine, after half of what is in it has gone to the slabs.
void pool_base::make_room_for(free_object* f) {
    lock_guard guard(lock_);
    if (rounds_ == 0)
        return give_to_slab(f);
    own_objects& kept = mine();
    const unsigned oldest = rounds_ - rounds_ / 2;
    for (unsigned slot = 0; slot < oldest; slot++)
        if (free_object* old = kept.take(slot))
            give_to_slab(old);
    kept.close_up(oldest);
    kept.push(*f);
}

void* pool_base::hand_out(free_object* f) const {
    sanitize_unpoison(f, stride_);
    if (!f->clear_mark()) [[unlikely]]
        panic("pool %s: object %p was written after it was freed", name_, f);
    sanitize_unpoison(f, size_, stride_);
    return f;
}

pool_base::free_object* pool_base::take_in(void* object) const {
    auto* f = static_cast<free_object*>(object);
    sanitize_write(object, 1);
#if SPORK_CHECKS
    if (slab_of(object)->owner != this) [[unlikely]]
        panic("pool %s: %p is not of this pool", name_, object);
#endif
    if (!f->set_mark()) [[unlikely]]
        panic("pool %s: object %p freed twice", name_, object);
    sanitize_poison(object, stride_);
    return f;
}

void* pool_base::allocate() {
    if (alloc_should_fail()) [[unlikely]]
        return nullptr;
    free_object* f = mine().pop();
    if (!f) [[unlikely]]
        f = refill();
    return f ? hand_out(f) : nullptr;
}

void pool_base::deallocate(void* object) {
    free_object* const f = take_in(object);
    own_objects& kept = mine();
    if (kept.height < rounds_) [[likely]]
        kept.push(*f);
    else
        make_room_for(f);
}

// What processors keep is read first: what goes from a slab to a magazine meanwhile counts as live.
uint64_t pool_base::live() const {
    uint64_t kept = 0;
    for (const own_objects& each : magazines_)
        kept += each.count();
    const uint64_t out = handed_out_.load(std::memory_order_acquire);
    return out > kept ? out - kept : 0;
}

uint64_t pool_base::trim() {
    lock_guard guard(lock_);
    const uint64_t before = pages();
    for (own_objects& others : magazines_)
        for (unsigned slot = 0; slot < rounds_; slot++)
            if (free_object* f = others.take(slot))
                give_to_slab(f);
    while (slab* s = empty_) {
        unlink(empty_, s);
        give_back(s);
    }
    empty_count_ = 0;
    return before - pages();
}

uint64_t pool_base::trim_all() {
    uint64_t pages = 0;
    for (pool_base* p = first(); p; p = p->next())
        pages += p->trim();
    return pages;
}

void pool_base::check() {
    lock_guard guard(lock_);
    uint64_t listed_places = 0, listed_used = 0, empties = 0;
    auto check_slab = [&](slab* s) {
        ASSERT(s->owner == this && s->carved <= s->capacity && s->used <= s->carved);
        unsigned freed = 0;
        for (free_object* f = s->freed; f; f = slab::next_of(f), freed++) {
            ASSERT(freed < s->capacity && slab_of(f) == s);
            ASSERT((static_cast<size_t>(reinterpret_cast<char*>(f) - s->first_object())) %
                       stride_ ==
                   0);
        }
        ASSERT(s->used + freed == s->carved);
        listed_places += s->capacity;
        listed_used += s->used;
    };
    for (slab* s = partial_; s; s = s->next) {
        ASSERT(s->used > 0 && s->used < s->capacity && (!s->next || s->next->prev == s));
        check_slab(s);
    }
    for (slab* s = empty_; s; s = s->next, empties++) {
        ASSERT(s->used == 0);
        check_slab(s);
    }
    ASSERT(empties == empty_count_);
    // What is not listed is full.
    ASSERT(places_ >= listed_places && handed_out_ == listed_used + (places_ - listed_places));
}

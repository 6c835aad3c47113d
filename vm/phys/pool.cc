// A pool hands out objects of one size from slabs: blocks of 2^order pages with a header in front.
//
//     | header | object | object | ... | object | rest |
//
// Freed objects of a slab are linked through their first word; those never used yet are carved
// off one after the other, so that a new slab is not touched as a whole. A slab is found from an
// object by rounding the address down to a page, and by that page's place in the slab. After
// Bonwick's slab allocator (USENIX Summer 1994), without its per-type constructors.
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

struct freed_object {
    freed_object* next;
    uintptr_t mark;
};

constinit std::atomic<pool_base*> all_pools{nullptr};

constexpr size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

} // namespace

struct pool_base::slab {
    slab* next; // on the pool's partial or empty list
    slab* prev;
    pool_base* owner;
    freed_object* freed;
    uint16_t used;     // objects handed out
    uint16_t carved;   // objects that were ever handed out: the others are not linked yet
    uint16_t capacity; // objects that there is room for
    uint16_t order;

    char* first_object() { return reinterpret_cast<char*>(this) + owner->first_offset(); }

    // Takes one off the list of freed objects: the one that was freed last, which is in the caches;
    // or, for a sanitizer, the one that was freed first, and none while there are new ones.
    NO_SANITIZE_ADDRESS freed_object* take_freed() {
        if (sanitize_delays_reuse && carved < capacity)
            return nullptr;
        freed_object** link = &freed;
        if (sanitize_delays_reuse)
            while (*link && (*link)->next)
                link = &(*link)->next;
        freed_object* f = *link;
        if (f)
            *link = f->next;
        return f;
    }
    // False, in builds with checks, if it is there already.
    NO_SANITIZE_ADDRESS bool add_freed(freed_object* f) {
#if SPORK_CHECKS
        const uintptr_t mark = freed_mark ^ reinterpret_cast<uintptr_t>(f);
        if (f->mark == mark) [[unlikely]]
            return false;
        f->mark = mark;
#endif
        f->next = freed;
        freed = f;
        return true;
    }
    NO_SANITIZE_ADDRESS static freed_object* next_of(freed_object* f) { return f->next; }
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
    const size_t align = std::max({align_, alignof(freed_object), sanitize_granule});
    const size_t stride = round_up(std::max(size_, sizeof(freed_object)) + sanitize_redzone, align);
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

void* pool_base::allocate() {
    if (alloc_should_fail()) [[unlikely]]
        return nullptr;
    lock_guard guard(lock_);
    slab* s = partial_;
    if (!s) [[unlikely]] {
        if (!registered_)
            enlist();
        if ((s = empty_)) {
            unlink(empty_, s);
            empty_count_--;
        } else if (!(s = grow())) {
            return nullptr;
        }
        push(partial_, s);
    }
    void* object;
    if (freed_object* f = s->take_freed()) {
        sanitize_unpoison(f, stride_);
#if SPORK_CHECKS
        if (f->mark != (freed_mark ^ reinterpret_cast<uintptr_t>(f))) [[unlikely]]
            panic("pool %s: object %p was written after it was freed", name_, f);
        f->mark = 0;
#endif
        object = f;
    } else {
        object = s->first_object() + size_t{s->carved} * stride_;
        s->carved++;
        sanitize_unpoison(object, stride_);
#if SPORK_CHECKS
        static_cast<freed_object*>(object)->mark = 0; // an earlier slab's here may have left one
#endif
    }
    sanitize_unpoison(object, size_, stride_);
    if (++s->used == s->capacity)
        unlink(partial_, s);
    live_.store(live_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return object;
}

void pool_base::deallocate(void* object) {
    slab* s = slab_of(object);
    auto* f = static_cast<freed_object*>(object);
    lock_guard guard(lock_);
    sanitize_write(object, 1);
#if SPORK_CHECKS
    if (s->owner != this) [[unlikely]]
        panic("pool %s: %p is not of this pool", name_, object);
#endif
    if (!s->add_freed(f)) [[unlikely]]
        panic("pool %s: object %p freed twice", name_, object);
    sanitize_poison(object, stride_);
    live_.store(live_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
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

uint64_t pool_base::trim() {
    lock_guard guard(lock_);
    uint64_t pages = 0;
    while (slab* s = empty_) {
        unlink(empty_, s);
        pages += uint64_t{1} << s->order;
        give_back(s);
    }
    empty_count_ = 0;
    return pages;
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
        for (freed_object* f = s->freed; f; f = slab::next_of(f), freed++) {
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
    ASSERT(places_ >= listed_places && live() == listed_used + (places_ - listed_places));
}

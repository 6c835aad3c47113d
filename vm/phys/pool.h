// Typed pools of kernel objects, after NetBSD's pool(9): each type has one, fed by whole pages.
//
//     static pool<vm_anon> anons{"vm_anon"};
//     vm_anon* a = anons.create(args...);      // null when out of memory; does not sleep
//     anons.destroy(a);
//
// Each processor keeps a few free objects of each pool, so that most calls take no lock; they are free
// to all others when memory runs out.
//
// Pools are global objects: constinit, usable before constructors run. All pools are on one list,
// so that a test can compare the numbers of live objects by name before and after
// (`pool_base::first()`).
#pragma once

#include "arch/cpu.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "lib/no_alloc.h"
#include "lib/types.h"
#include "vm/phys/magazine.h"

#include <atomic>
#include <new>
#include <utility>

class pool_base {
public:
    constexpr pool_base(const char* name, size_t size, size_t align)
        : name_(name), size_(size), align_(align) {}
    pool_base(const pool_base&) = delete;

    void* allocate(); // null when out of memory
    NO_ALLOC void deallocate(void* object);

    const char* name() const { return name_; }
    size_t object_size() const { return size_; }
    // Objects that have an owner. Exact when no call is under way.
    uint64_t live() const;
    uint64_t pages() const { return pages_.load(std::memory_order_relaxed); }
    pool_base* next() const { return next_; }
    static pool_base* first();
    // Panics unless free lists and counts agree.
    void check();
    // Gives empty slabs back to the page allocator; how many pages.
    uint64_t trim();
    // The same for all pools: when memory is short.
    static uint64_t trim_all();

private:
    struct slab;
    struct free_object;
    static constexpr unsigned most_rounds = 15; // a magazine is two cache lines
    struct alignas(64) own_objects : magazine<free_object, most_rounds> {};
    constexpr size_t first_offset() const;
    slab* slab_of(void* object) const;
    [[gnu::noinline]] free_object* refill();
    [[gnu::noinline]] void make_room_for(free_object* f);
    bool make_room() REQUIRES(lock_);
    free_object* take_from_slab() REQUIRES(lock_);
    void give_to_slab(free_object* f) REQUIRES(lock_);
    free_object* take_from_others();
    void* hand_out(free_object* f) const;
    free_object* take_in(void* object) const;
    own_objects& mine();
    slab* grow() REQUIRES(lock_);
    void give_back(slab* s) REQUIRES(lock_);
    void enlist() REQUIRES(lock_);

    const char* const name_;
    const size_t size_, align_; // as asked for
    spin_lock lock_{lock_rank::pool, "pool"};
    slab* partial_ GUARDED_BY(lock_) = nullptr; // some objects used, some free
    slab* empty_ GUARDED_BY(lock_) = nullptr;   // none used; full slabs are on no list
    unsigned empty_count_ GUARDED_BY(lock_) = 0;
    uint64_t places_ GUARDED_BY(lock_) = 0; // of all slabs
    // Of a slab where it may be had, and from one object to the next: set by enlist().
    uint16_t order_ CONSTANT_ONCE_SHARED = 0, stride_ CONSTANT_ONCE_SHARED = 0;
    unsigned rounds_ CONSTANT_ONCE_SHARED = 0; // what a processor keeps at most
    std::atomic<uint64_t> handed_out_{0},
        pages_{0}; // by slabs, to magazines too; written under lock_
    own_objects magazines_[max_cpus] GUARD_UNCHECKED("its own processor, no interrupt handler");
    pool_base* next_ CONSTANT_ONCE_SHARED = nullptr; // of all pools
    bool registered_ GUARDED_BY(lock_) = false;
};

template <class T> class pool : public pool_base {
public:
    constexpr explicit pool(const char* name) : pool_base(name, sizeof(T), alignof(T)) {}
    template <class... Args> T* create(Args&&... args) {
        void* memory = allocate();
        return memory ? new (memory) T(std::forward<Args>(args)...) : nullptr;
    }
    void destroy(T* object) {
        if (!object)
            return;
        object->~T();
        deallocate(object);
    }
};

// Untyped memory of any size (argument lists, buffers): kmem(9). Null when out of memory; does not
// sleep; 16-byte aligned, page aligned from page_size up. `size` at free must be that of the
// allocation. Counted in the leak checks too.
void* kmem_alloc(size_t size);
void* kmem_zalloc(size_t size);
NO_ALLOC void kmem_free(void* memory, size_t size);
uint64_t kmem_bytes_in_use();

// Owns a kmem_alloc of `count` T (trivial types), zeroed unless its maker will write before it reads.
template <class T> class kmem_array {
public:
    kmem_array() = default;
    explicit kmem_array(size_t count, bool zeroed = true)
        : data_(count > SIZE_MAX / sizeof(T)
                    ? nullptr
                    : static_cast<T*>(zeroed ? kmem_zalloc(count * sizeof(T))
                                             : kmem_alloc(count * sizeof(T)))),
          count_(data_ ? count : 0) {}
    kmem_array(kmem_array&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
    kmem_array& operator=(kmem_array&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(count_, other.count_);
        return *this;
    }
    ~kmem_array() {
        if (data_)
            kmem_free(data_, count_ * sizeof(T));
    }
    explicit operator bool() const { return data_ != nullptr; }
    T* data() const { return data_; }
    size_t size() const { return count_; }
    T& operator[](size_t i) const { return data_[i]; }
    T* begin() const { return data_; }
    T* end() const { return data_ + count_; }

private:
    T* data_ = nullptr;
    size_t count_ = 0;
};

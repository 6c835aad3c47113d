// Kernel memory that a call keeps while it is under way, in proportion to what its caller asks: the
// arguments of an exec, what poll looks at, a buffer. It counts for the process when memory is out
// (kernel/lifecycle/oom.cc): calls can sleep, and a process may have thousands of threads in one.
#pragma once

#include "kernel/process/process.h"
#include "lib/result.h"
#include "vm/phys/pool.h"

#include <algorithm>
#include <utility>

class call_memory {
public:
    call_memory() = default;
    explicit call_memory(uint64_t bytes) { add(bytes); }
    call_memory(call_memory&& other) noexcept { take(other); }
    call_memory& operator=(call_memory&& other) noexcept {
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~call_memory() {
        if (bytes_)
            current_process().call_bytes -= bytes_;
    }
    void add(uint64_t bytes) {
        current_process().call_bytes += bytes;
        bytes_ += bytes;
    }
    void drop(uint64_t bytes) {
        current_process().call_bytes -= bytes;
        bytes_ -= bytes;
    }
    // Of the same thread.
    void take(call_memory& other) { bytes_ += std::exchange(other.bytes_, 0); }

private:
    uint64_t bytes_ = 0;
};

// A kmem_array that is kept for a call.
template <class T> struct call_array : kmem_array<T> {
    call_array() = default;
    explicit call_array(size_t count) : kmem_array<T>(count), kept(this->size() * sizeof(T)) {}
    call_memory kept;
};

// The same in pages of its own, for what may be long: it needs no row of free pages, of which there
// are few where programs have most of memory. Elements are zeros at first, and T's destructor
// finds nothing in zeros.
template <class T> class call_pages {
public:
    static constexpr size_t per_page = page_size / sizeof(T);

    static expected<call_pages> create(size_t count); // ENOMEM
    call_pages(call_pages&&) = default;
    ~call_pages();
    T& operator[](size_t i) const {
        return i < per_page ? first_[i] : more_[i / per_page - 1][i % per_page];
    }
    // With the number of the page's first element; until one fails.
    template <class F> status for_each_page(F work) {
        if (first_)
            TRY(work(first_, 0));
        for (size_t page = 0; page < more_.size(); page++)
            if (more_[page])
                TRY(work(more_[page], (page + 1) * per_page));
        return {};
    }

private:
    call_pages() = default;
    call_array<T> first_;
    call_array<call_array<T>> more_;
};

template <class T> call_pages<T>::~call_pages() {
    (void)for_each_page([](call_array<T>& page, size_t) -> status {
        for (T& each : page)
            each.~T();
        return {};
    });
    for (call_array<T>& page : more_)
        page.~call_array<T>();
}

template <class T> expected<call_pages<T>> call_pages<T>::create(size_t count) {
    call_pages made;
    if (count == 0)
        return made;
    made.first_ = call_array<T>(std::min(count, per_page));
    if (!made.first_)
        return fail(Errno::nomem);
    const size_t more = (count - 1) / per_page;
    if (more == 0)
        return made;
    made.more_ = call_array<call_array<T>>(more);
    if (!made.more_)
        return fail(Errno::nomem);
    for (size_t page = 0; page < more; page++) {
        made.more_[page] = call_array<T>(std::min(count - (page + 1) * per_page, per_page));
        if (!made.more_[page])
            return fail(Errno::nomem);
    }
    return made;
}

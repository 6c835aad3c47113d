// Kernel memory that a call keeps while it is under way, in proportion to what its caller asks: the
// arguments of an exec, what poll looks at, a buffer. It counts for the process when memory is out
// (kernel/lifecycle/oom.cc): calls can sleep, and a process may have thousands of threads in one.
#pragma once

#include "kernel/process/process.h"
#include "vm/phys/pool.h"

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

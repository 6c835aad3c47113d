// vm_serial: a number that no other thing has, or ever had. What is remembered by it is not
// mistaken for another that lies where it was.
#pragma once

#include <atomic>
#include <cstdint>

class vm_serial {
public:
    vm_serial() : value_(last.fetch_add(1, std::memory_order_relaxed) + 1) {}
    vm_serial(const vm_serial&) = delete;
    uint64_t value() const { return value_; }

private:
    inline static constinit std::atomic<uint64_t> last{0};
    const uint64_t value_;
};

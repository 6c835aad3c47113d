// Address and size types that cannot be mixed up.
//
// A vaddr_t is an address in some address space (user or kernel); a paddr_t is a physical
// address. Neither converts to an integer or to a pointer by itself: value() and the
// direct-map functions of arch/memory.h are the only ways out.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

// A process, thread, group or session, as the Linux ABI numbers them. Some versions of libstdc++
// bring the C library's type along, others do not: it is the same one.
using pid_t = int;

inline constexpr unsigned page_shift = 12;
inline constexpr size_t page_size = size_t{1} << page_shift;
inline constexpr size_t page_mask = page_size - 1;

// Bytes to pages, rounded up.
constexpr uint64_t pages_of(uint64_t bytes) { return (bytes + page_mask) >> page_shift; }
constexpr uint64_t page_round_up(uint64_t bytes) {
    return (bytes + page_mask) & ~uint64_t{page_mask};
}
constexpr uint64_t page_round_down(uint64_t bytes) { return bytes & ~uint64_t{page_mask}; }

template <class Tag> class address {
public:
    constexpr address() = default;
    constexpr explicit address(uint64_t value) : value_(value) {}

    constexpr uint64_t value() const { return value_; }
    constexpr uint64_t page_offset() const { return value_ & page_mask; }
    constexpr bool page_aligned() const { return page_offset() == 0; }
    constexpr address page_down() const { return address(page_round_down(value_)); }
    constexpr address page_up() const { return address(page_round_up(value_)); }

    constexpr address& operator+=(uint64_t n) {
        value_ += n;
        return *this;
    }
    constexpr address& operator-=(uint64_t n) {
        value_ -= n;
        return *this;
    }
    friend constexpr address operator+(address a, uint64_t n) { return address(a.value_ + n); }
    friend constexpr address operator-(address a, uint64_t n) { return address(a.value_ - n); }
    friend constexpr uint64_t operator-(address a, address b) { return a.value_ - b.value_; }
    friend constexpr auto operator<=>(address, address) = default;

private:
    uint64_t value_ = 0;
};

using vaddr_t = address<struct vaddr_tag>;
using paddr_t = address<struct paddr_tag>;

// Times are nanoseconds; an absolute one counts from boot (CLOCK_MONOTONIC).
using nanos_t = uint64_t;
inline constexpr nanos_t forever = UINT64_MAX;
inline constexpr nanos_t nanos_per_second = 1'000'000'000;

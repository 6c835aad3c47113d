// uio: where the bytes of a read or a write go to or come from: segments in the running program
// or one buffer in the kernel (as BSD's uio(9)).
#pragma once

#include "lib/result.h"
#include "lib/types.h"

#include <cstddef>

struct uio_segment {
    uint64_t address; // user address or kernel pointer
    uint64_t size;
};

// What one read or write moves at most, as on Linux.
inline constexpr uint64_t uio_max = 0x7ffff000;

class uio {
public:
    enum class direction { read, write }; // read: the kernel fills the caller's memory

    // One user range; a user range outside the user half gives EFAULT when moved.
    uio(direction d, vaddr_t user, uint64_t size);
    // One kernel buffer.
    uio(direction d, void* kernel, uint64_t size);
    // Several user ranges; the array stays the caller's.
    uio(direction d, const uio_segment* segments, size_t count);
    uio(const uio&) = delete;
    uio& operator=(const uio&) = delete;

    uint64_t remaining() const { return remaining_; }
    uint64_t moved() const { return moved_; }
    direction dir() const { return direction_; }
    // Copies `size` (at most remaining()) bytes between `kernel` and the segments and advances.
    // EFAULT: what was moved before the bad address counts in moved(). EINTR when the caller is to
    // die. May sleep; no spin lock may be held. However much it is, others get their turn.
    status move(void* kernel, uint64_t size);
    status move_zeros(uint64_t size); // direction read
    // Counts `size` bytes as moved without touching them (direction write): /dev/null.
    void skip(uint64_t size);
    // The last `n` bytes that were moved do not count.
    void retract(uint64_t n) { moved_ -= n; }
    // Lowers remaining() to at most `size`.
    void limit(uint64_t size) {
        if (remaining_ > size)
            remaining_ = size;
    }
    // The usual end of a read or write: how much was moved, or the error if nothing was.
    expected<int64_t> result(status s) const {
        if (moved_ == 0 && !s)
            return fail(s.error());
        return int64_t(moved_);
    }

private:
    void advance(uint64_t n);
    template <class Copy> status each_piece(uint64_t size, Copy copy);

    direction direction_;
    bool kernel_;
    const uio_segment* segments_;
    size_t count_;
    uio_segment single_{};
    uint64_t offset_ = 0; // in segments_[0]
    uint64_t remaining_ = 0, moved_ = 0;
};

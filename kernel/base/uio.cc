#include "kernel/base/uio.h"

#include "arch/uaccess.h"
#include "lib/assert.h"
#include "lib/long_work.h"
#include "lib/string.h"

#include <algorithm>

uio::uio(direction d, vaddr_t user, uint64_t size)
    : direction_(d), kernel_(false), segments_(&single_), count_(1), single_{user.value(), size},
      remaining_(size) {}

uio::uio(direction d, void* kernel, uint64_t size)
    : direction_(d), kernel_(true), segments_(&single_), count_(1),
      single_{reinterpret_cast<uint64_t>(kernel), size}, remaining_(size) {}

uio::uio(direction d, const uio_segment* segments, size_t count)
    : direction_(d), kernel_(false), segments_(segments), count_(count) {
    for (size_t i = 0; i < count; i++)
        remaining_ += segments[i].size;
}

void uio::advance(uint64_t n) {
    ASSERT(n <= remaining_);
    offset_ += n;
    remaining_ -= n;
    moved_ += n;
}

// What is copied in one go: some thousand instructions, and the page faults of a few pages.
constexpr uint64_t piece_max = 64 * 1024;

// Calls copy(address, n, done so far), which says how much it could copy, for each contiguous
// piece.
template <class Copy> status uio::each_piece(uint64_t size, Copy copy) {
    ASSERT(size <= remaining_);
    uint64_t done = 0;
    while (done < size) {
        while (offset_ == segments_->size) {
            ASSERT(count_ > 1);
            segments_++;
            count_--;
            offset_ = 0;
        }
        TRY(long_work::go_on());
        uint64_t n = std::min({size - done, segments_->size - offset_, piece_max});
        uint64_t copied = copy(segments_->address + offset_, n, done);
        advance(copied);
        if (copied < n)
            return fail(Errno::fault);
        done += n;
    }
    return {};
}

status uio::move(void* kernel, uint64_t size) {
    char* bytes = static_cast<char*>(kernel);
    return each_piece(size, [&](uint64_t address, uint64_t n, uint64_t done) -> uint64_t {
        if (kernel_) {
            void* other = reinterpret_cast<void*>(address);
            if (direction_ == direction::read)
                memcpy(other, bytes + done, n);
            else
                memcpy(bytes + done, other, n);
            return n;
        }
        return direction_ == direction::read ? copy_out_partial(vaddr_t(address), bytes + done, n)
                                             : copy_in_partial(bytes + done, vaddr_t(address), n);
    });
}

status uio::move_zeros(uint64_t size) {
    ASSERT(direction_ == direction::read);
    return each_piece(size, [&](uint64_t address, uint64_t n, uint64_t) -> uint64_t {
        if (kernel_) {
            memset(reinterpret_cast<void*>(address), 0, n);
            return n;
        }
        // zero_out() does not say how far it came, so it goes page by page.
        uint64_t zeroed = 0;
        while (zeroed < n) {
            uint64_t at = address + zeroed;
            uint64_t piece = std::min(n - zeroed, page_size - (at & page_mask));
            if (!zero_out(vaddr_t(at), piece))
                break;
            zeroed += piece;
        }
        return zeroed;
    });
}

void uio::skip(uint64_t size) {
    ASSERT(direction_ == direction::write);
    (void)each_piece(size, [](uint64_t, uint64_t n, uint64_t) { return n; });
}

// Where a call's bytes are, in the program.
#pragma once

#include "arch/memory.h"
#include "kernel/abi/arguments.h"
#include "kernel/base/uio.h"
#include "kernel/process/call_memory.h"

#include <algorithm>

// Whether a buffer lies within the user half; what the copy itself would find out too late or, for
// a read of nothing, never. EFAULT.
inline status check_range(vaddr_t address, uint64_t size) {
    if (address > user_max || size > user_max - address)
        return fail(Errno::fault);
    return {};
}

// The segments of readv and its kin, copied in: few of them on the stack.
class segment_list {
public:
    static constexpr int64_t most = 1024; // UIO_MAXIOV

    // EINVAL EFAULT ENOMEM. The sum is cut at uio_max, as on Linux.
    status copy(user_ptr<const linux_iovec> from, int64_t count);
    const uio_segment* data() const { return segments_; }
    size_t size() const { return count_; }

private:
    static constexpr int64_t few = 8;
    uio_segment local_[few];
    call_array<uio_segment> heap_;
    uio_segment* segments_ = local_;
    size_t count_ = 0;
};

inline status segment_list::copy(user_ptr<const linux_iovec> from, int64_t count) {
    if (count < 0 || count > most)
        return fail(Errno::inval);
    if (count > few) {
        heap_ = call_array<uio_segment>(size_t(count));
        if (!heap_)
            return fail(Errno::nomem);
        segments_ = heap_.data();
    }
    static_assert(sizeof(linux_iovec) == sizeof(uio_segment));
    TRY(copy_in(segments_, from.address(), size_t(count) * sizeof(uio_segment)));
    uint64_t left = uio_max;
    for (int64_t i = 0; i < count; i++) {
        if (int64_t(segments_[i].size) < 0)
            return fail(Errno::inval);
        TRY(check_range(vaddr_t(segments_[i].address), segments_[i].size));
        segments_[i].size = std::min(segments_[i].size, left);
        left -= segments_[i].size;
    }
    count_ = size_t(count);
    return {};
}

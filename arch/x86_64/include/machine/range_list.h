// A small set of address ranges, for sorting out the firmware's memory map.
#pragma once

#include "lib/assert.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

class range_list {
public:
    static constexpr size_t capacity = 128;
    struct range {
        uint64_t start, end;
    };

    // What does not fit any more is left out: of usable memory that is safe, and a list of occupied
    // memory of this length has not been seen.
    void add(uint64_t start, uint64_t end) {
        if (start < end && count_ < capacity)
            ranges_[count_++] = {start, end};
    }

    // Sorts by address and merges what touches or overlaps.
    void normalise();

    // Removes every part that is in `other`. This list is normalised, and stays so.
    void subtract(const range_list& other);

    const range* begin() const { return ranges_; }
    const range* end() const { return ranges_ + count_; }

private:
    void erase_empty() {
        count_ =
            static_cast<size_t>(std::remove_if(ranges_, ranges_ + count_,
                                               [](const range& r) { return r.start >= r.end; }) -
                                ranges_);
    }

    range ranges_[capacity] = {};
    size_t count_ = 0;
};

inline void range_list::normalise() {
    std::sort(ranges_, ranges_ + count_,
              [](const range& a, const range& b) { return a.start < b.start; });
    size_t kept = 0;
    for (size_t i = 0; i < count_; i++) {
        if (kept > 0 && ranges_[i].start <= ranges_[kept - 1].end)
            ranges_[kept - 1].end = std::max(ranges_[kept - 1].end, ranges_[i].end);
        else
            ranges_[kept++] = ranges_[i];
    }
    count_ = kept;
}

inline void range_list::subtract(const range_list& other) {
    for (const range& hole : other) {
        for (size_t i = 0; i < count_; i++) {
            range& r = ranges_[i];
            if (hole.end <= r.start || r.end <= hole.start)
                continue;
            range upper{hole.end, r.end};
            r.end = std::max(r.start, hole.start);
            add(upper.start, upper.end); // empty when the hole reaches the end
        }
        erase_empty();
        normalise();
    }
}

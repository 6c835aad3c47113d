#include "kernel/drivers/virtqueue.h"

#include "lib/assert.h"

#include <atomic>

namespace {

constexpr uint16_t flag_next = 1, flag_write = 2; // of a descriptor
constexpr uint16_t no_notice = 1;                 // of the used ring

size_t used_offset(unsigned count) {
    const size_t available_end = 16 * count + 4 + 2 * count + 2; // with used_event behind it
    return (available_end + 3) & ~size_t{3};
}

} // namespace

size_t virtqueue::bytes(unsigned count) {
    return used_offset(count) + sizeof(used_ring) + sizeof(used_entry) * count + 2;
}

void virtqueue::initialize(void* memory, unsigned count) {
    static_assert(sizeof(descriptor) == 16 && sizeof(used_entry) == 8);
    ASSERT(count && count <= most && (count & (count - 1)) == 0);
    auto* bytes = static_cast<char*>(memory);
    descriptors_ = reinterpret_cast<descriptor*>(bytes);
    available_ = reinterpret_cast<available_ring*>(bytes + 16 * count);
    used_ = reinterpret_cast<used_ring*>(bytes + used_offset(count));
    count_ = room_ = count;
    for (unsigned i = 0; i < count; i++)
        own_[i].next = uint16_t(i + 1);
}

uint16_t virtqueue::append(const disk_segment& s, uint16_t flags) {
    const uint16_t at = free_;
    free_ = own_[at].next;
    descriptors_[at] = {s.start.value(), s.size, flags, free_};
    return at;
}

unsigned virtqueue::add(std::span<const disk_segment> reads, std::span<const disk_segment> writes) {
    const size_t length = reads.size() + writes.size();
    ASSERT(length && length <= room_);
    const uint16_t head = free_;
    // The free descriptors are linked already: a chain is as many as it needs of them, and the last
    // is told to be it.
    uint16_t last = head;
    uint32_t writable = 0;
    for (const disk_segment& s : reads)
        last = append(s, flag_next);
    for (const disk_segment& s : writes) {
        last = append(s, flag_next | flag_write);
        writable += s.size;
    }
    descriptors_[last].flags &= uint16_t(~flag_next);
    room_ -= unsigned(length);
    own_[head].length = uint16_t(length);
    own_[head].writable = writable;
    out_++;

    available_->ring[added_ & (count_ - 1)] = head;
    added_++;
    // A device that sees the index sees the chain and its place in the ring: they are written before
    // it. (On x86 stores are seen in their order, and this keeps the compiler to it.)
    std::atomic_ref(available_->index).store(added_, std::memory_order_release);
    return head;
}

bool virtqueue::wants_notice() const {
    // The device sets the flag when it is about to look at the index by itself, and looks at the
    // index again after it has cleared the flag. If our reading of the flag came before our writing
    // of the index, which x86 allows, both could miss each other: hence a full barrier.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return !(std::atomic_ref(used_->flags).load(std::memory_order_relaxed) & no_notice);
}

virtqueue::taken virtqueue::take() {
    // Acquire: the entry, and what the device has written into the buffers, are read after it.
    const uint16_t index = std::atomic_ref(used_->index).load(std::memory_order_acquire);
    const auto ahead = uint16_t(index - taken_);
    if (ahead == 0)
        return {answer::nothing};
    if (ahead > out_)
        return {answer::nonsense};
    // Once into our own memory: the device may write there at any time.
    const volatile used_entry& entry = used_->ring[taken_ & (count_ - 1)];
    const uint32_t chain = entry.chain, written = entry.written;
    if (chain >= count_ || own_[chain].length == 0 || written > own_[chain].writable)
        return {answer::nonsense};
    taken_++;
    out_--;
    own& first = own_[chain];
    room_ += first.length;
    uint16_t last = uint16_t(chain);
    for (unsigned i = 1; i < first.length; i++)
        last = own_[last].next;
    first.length = 0;
    own_[last].next = free_;
    free_ = uint16_t(chain);
    return {answer::chain, chain, written};
}

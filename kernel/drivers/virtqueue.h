// virtqueue: the memory by which a driver and a virtio device hand buffers to each other (virtio 1.2,
// 2.7: split virtqueues).
//
//     descriptors   one for each piece of memory; those of one chain belong together
//     available     a ring of chains that the driver has handed over; only the driver writes it
//     used          a ring of chains that the device hands back; only the device writes it
//
// The device is not trusted: what it says is compared with what it was given, and it cannot change
// what the driver goes by, which is kept outside the shared memory.
//
// It knows no locks and no device; its owner has a lock for it.
#pragma once

#include "lib/disk.h"
#include "lib/types.h"

#include <cstdint>
#include <span>

class virtqueue {
public:
    static constexpr unsigned most = 256; // descriptors; whatever the device offers

    // What the shared memory takes for so many descriptors: a power of two, at most `most`.
    static size_t bytes(unsigned count);
    // `memory` is zeros, and aligned to 16.
    void initialize(void* memory, unsigned count);
    const void* descriptors() const { return descriptors_; }
    const void* available() const { return available_; }
    const void* used() const { return used_; }

    unsigned room() const { return room_; } // descriptors that are free
    // What the next chain will be called.
    unsigned next_chain() const { return free_; }
    // Hands over a chain: first what the device reads, then what it may write. `room()` is enough.
    // Returns the number by which take() will name it, below `most`.
    unsigned add(std::span<const disk_segment> reads, std::span<const disk_segment> writes);
    // Whether the device wants to be told of what was added.
    bool wants_notice() const;

    // What the device has handed back. `nonsense`: something that it did not have, or with more
    // bytes written than it had room for; nothing that it says counts any more.
    enum class answer : uint8_t { nothing, chain, nonsense };
    struct taken {
        answer what;
        unsigned chain = 0;
        uint32_t written = 0; // bytes
    };
    taken take();

private:
    struct descriptor {
        uint64_t address;
        uint32_t size;
        uint16_t flags, next;
    };
    struct used_entry {
        uint32_t chain, written;
    };
    struct used_ring {
        uint16_t flags, index;
        used_entry ring[];
    };
    struct available_ring {
        uint16_t flags, index;
        uint16_t ring[];
    };
    // The driver's own knowledge of each descriptor.
    struct own {
        uint16_t next;     // in its chain, or of the free ones
        uint16_t length;   // of the chain that begins here; 0: none does
        uint32_t writable; // bytes that the device may write in it
    };
    uint16_t append(const disk_segment& s, uint16_t flags);

    descriptor* descriptors_ = nullptr;
    available_ring* available_ = nullptr;
    used_ring* used_ = nullptr;
    unsigned count_ = 0, room_ = 0, out_ = 0; // out: chains that the device has
    uint16_t free_ = 0;                       // the first free one
    uint16_t added_ = 0, taken_ = 0;          // both run freely, as the rings' indices do
    own own_[most] = {};
};

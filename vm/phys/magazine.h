// A stack of free things that a processor keeps for itself, without a lock (Bonwick and Adams,
// "Magazines and Vmem", USENIX 2001).
//
// Only the processor itself puts things in and changes `height`. Interrupts may be on: kernel code
// keeps its processor while it does not sleep, and no interrupt handler allocates or frees. A thing is
// taken out by exchanging its slot for null, which any processor may do: of two that want it, one
// gets it. So the owner, which alone knows how high the stack is, may find slots empty that another
// has emptied.
#pragma once

#include <atomic>

template <class T, unsigned places> struct magazine {
    std::atomic<T*> slots[places] = {};
    unsigned height = 0;

    // Null if nothing is there. Any processor.
    T* take(unsigned slot) { return slots[slot].exchange(nullptr, std::memory_order_acquire); }

    // The rest is the owner's.
    T* pop() {
        while (height != 0)
            if (T* thing = take(--height)) [[likely]]
                return thing;
        return nullptr;
    }
    bool full() const { return height == places; }
    void push(T& thing) { slots[height++].store(&thing, std::memory_order_release); }
    // The lowest `n`, which have been in it longest and have been taken out now, leave room.
    void close_up(unsigned n) {
        for (unsigned slot = n; slot < height; slot++)
            slots[slot - n].store(take(slot), std::memory_order_release);
        height -= n;
    }
    // How many there are; anybody, a moment old.
    unsigned count() const {
        unsigned n = 0;
        for (const auto& slot : slots)
            n += slot.load(std::memory_order_relaxed) != nullptr;
        return n;
    }
};

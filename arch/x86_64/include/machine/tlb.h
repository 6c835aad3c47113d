// TLB shootdown: see arch/x86_64/tlb.cc for the protocol and why it cannot dead-lock.
#pragma once

#include "lib/types.h"

#include <cstdint>

struct pmap_machine;

namespace tlb {

// The addresses whose translations changed; from a certain number on, everything.
class batch {
public:
    static constexpr unsigned capacity = 32;

    void add(uint64_t va) {
        if (count_ < capacity)
            addresses_[count_] = va;
        count_++;
    }
    void add_all() { count_ = capacity + 1; }
    bool empty() const { return count_ == 0; }
    bool everything() const { return count_ > capacity; }
    uint32_t pages() const { return everything() ? 0 : count_; }
    const uint64_t* begin() const { return addresses_; }
    const uint64_t* end() const { return addresses_ + count_; }

private:
    uint64_t addresses_[capacity]; // the first count_ of them
    unsigned count_ = 0;
};

// Flushes the batch on every CPU that may hold translations of `m`; after it returns none uses
// an old one. The page tables have been changed before. Answers the requests of other CPUs while it
// waits.
void flush(pmap_machine& m, const batch& b);
// Has every CPU that may run in `m` pass a full memory barrier and fetch its instructions again;
// the kernel's: every CPU. The caller passes one, too. One that loads `m` later does both by that.
void barrier(pmap_machine& m);
// Makes every CPU that has `m` loaded load the kernel's page table instead. Nobody may
// activate `m` meanwhile.
void unload(pmap_machine& m);
// Loads `m` on the calling CPU; interrupts off.
void activate(pmap_machine& m);
// Whether `m` is loaded on the calling CPU.
bool loaded_here(const pmap_machine& m);
// Whether other CPUs may have translations of `m`, for one who has just changed an entry by an
// atomic operation.
bool loaded_elsewhere(const pmap_machine& m);
// Forgets one translation on the calling CPU.
inline void invalidate_here(uint64_t va) { asm volatile("invlpg (%0)" : : "r"(va) : "memory"); }

// Forgets all translations of `m` on the calling CPU alone, if it is loaded there.
void refresh_here(const pmap_machine& m);

// A CPU calls this once, when it has loaded the kernel's page table and can be interrupted by
// vector_tlb_shootdown: from then on it takes part in flushes of kernel mappings.
void join();

void interrupt(); // vector_tlb_shootdown; interrupts off
void poll();      // the same, from loops that spin with interrupts off

} // namespace tlb

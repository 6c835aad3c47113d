// TLB shootdown: see arch/x86_64/tlb.cc for the protocol and why it cannot dead-lock.
#pragma once

namespace tlb {
void interrupt(); // vector_tlb_shootdown; interrupts off
void poll();      // the same, from loops that spin with interrupts off
} // namespace tlb

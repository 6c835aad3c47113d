// The local APIC: interrupts between processors and the vectors in use.
#pragma once

#include <cstdint>

enum vector : uint8_t {
    vector_isa_base = 0x30,      // + ISA line 0..15, through the I/O APIC
    vector_timer = 0xe0,
    vector_reschedule = 0xe1,
    vector_tlb_shootdown = 0xe2,
    vector_halt = 0xe3,          // a panic elsewhere; NMI is used when this one is not answered
    vector_spurious = 0xff,
};

// Sends a fixed interrupt to one CPU (our numbering). Interrupts off.
void lapic_send_ipi(unsigned cpu, uint8_t vector);
void lapic_send_nmi(unsigned cpu);
void lapic_end_of_interrupt();

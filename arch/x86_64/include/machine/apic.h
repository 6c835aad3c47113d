// The interrupt controllers: each CPU's local APIC, the I/O APICs, and the vectors in use.
#pragma once

#include <cstdint>

enum vector : uint8_t {
    vector_pic_base = 0x20,     // the two legacy controllers, masked: only spurious interrupts
    vector_isa_base = 0x30,     // + ISA line 0..15, through the I/O APIC
    vector_message_base = 0x40, // messages of devices, one vector each
    vector_message_end = 0x60,
    vector_timer = 0xe0,
    vector_reschedule = 0xe1,
    vector_tlb_shootdown = 0xe2,
    vector_spurious = 0xff,
};

// Sends a fixed interrupt to one CPU (our numbering). Interrupts off.
void lapic_send_ipi(unsigned cpu, uint8_t vector);
void lapic_send_nmi(unsigned cpu);
void lapic_end_of_interrupt();

// The rest is for arch/x86_64's own start-up.
void lapic_enable(); // on each CPU
uint32_t lapic_id(); // of the calling CPU
void lapic_send_init(uint32_t lapic_id);
void lapic_send_startup(uint32_t lapic_id, uint8_t page);
void lapic_timer_start(uint32_t count); // one-shot; 0 disarms it
uint32_t lapic_timer_remaining();
void ioapic_initialize();              // all lines masked, the legacy controllers too
void device_interrupt(uint8_t vector); // calls the registered handlers

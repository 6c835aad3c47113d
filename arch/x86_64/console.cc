// Polled output.
#include <machine/console.h>

#include "arch/machine.h"

#include <machine/instructions.h>

namespace {

// Registers of the 16550, from its base port.
constexpr uint16_t uart_data = 0, uart_interrupt_enable = 1, uart_fifo_control = 2;
constexpr uint16_t uart_line_control = 3, uart_modem_control = 4, uart_line_status = 5;
constexpr uint8_t transmitter_empty = 0x20;

// QEMU's isa-debugcon: a port that reads as 0xe9.
constexpr uint16_t debug_port = 0xe9, record_port = 0xea;
constexpr uint8_t debugcon_reads_as = 0xe9;
bool has_debug_port;

void put(char c) {
    // A port that is not there reads as all ones, and so as empty; one that hangs is given up.
    for (unsigned i = 0; i < 100'000; i++)
        if (in8(com1_port + uart_line_status) & transmitter_empty)
            break;
    out8(com1_port + uart_data, static_cast<uint8_t>(c));
}

} // namespace

void console_initialize() {
    out8(com1_port + uart_interrupt_enable, 0);
    out8(com1_port + uart_line_control, 0x80); // the divisor latch
    out8(com1_port + uart_data, 1);            // 115,200 / 1
    out8(com1_port + uart_interrupt_enable, 0);
    out8(com1_port + uart_line_control, 0x03); // 8N1
    out8(com1_port + uart_fifo_control, 0x07); // FIFOs on and empty
    out8(com1_port + uart_modem_control, 0x0b);
    has_debug_port = in8(debug_port) == debugcon_reads_as;
}

bool machine_has_record_port() { return in8(record_port) == debugcon_reads_as; }

void machine_record_write(const char* text, size_t length) {
    out8_string(record_port, text, length);
}

void console_write_polled(const char* text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\n')
            put('\r');
        put(text[i]);
        if (has_debug_port)
            out8(debug_port, static_cast<uint8_t>(text[i]));
    }
}

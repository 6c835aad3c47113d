#include "kernel/tty/uart.h"

#include "kernel/tty/line_discipline.h"

#include <algorithm>
#include <machine/instructions.h>

namespace {

// Registers, from the base port.
constexpr uint16_t data = 0, interrupt_enable = 1, interrupt_identification = 2, fifo_control = 2,
                   line_control = 3, modem_control = 4, line_status = 5, scratch = 7;
constexpr uint8_t enable_received = 1, enable_transmitter = 2, enable_line_status = 4;
constexpr uint8_t cause_mask = 0x0f, cause_received = 0x04; // causes, the most urgent one is shown
constexpr unsigned trigger_level = 14;
constexpr uint8_t fifo_on_trigger_14 = 0xc1, fifo_clear_receiver = 0x02;
constexpr uint8_t eight_bits = 0x03, line_break = 0x40, divisor_latch = 0x80;
constexpr uint8_t terminal_ready = 0x01, request_to_send = 0x02, interrupt_gate = 0x08;
constexpr uint8_t received = 0x01, break_received = 0x10, transmitter_ready = 0x20,
                  transmitter_idle = 0x40;
constexpr unsigned fifo_size = 16;

} // namespace

bool uart::start() {
    out8(port_ + scratch, 0x5a);
    if (in8(port_ + scratch) != 0x5a)
        return false;
    out8(port_ + interrupt_enable, 0);
    out8(port_ + line_control, divisor_latch);
    out8(port_ + data, 1); // divisor 1
    out8(port_ + interrupt_enable, 0);
    out8(port_ + line_control, eight_bits);
    // What printk has just sent stays in the transmitter's FIFO. The receiver interrupts for 14
    // bytes, or when fewer have waited for four character times; with a lower trigger QEMU's UART
    // also takes fewer at once from its other end.
    out8(port_ + fifo_control, fifo_on_trigger_14 | fifo_clear_receiver);
    out8(port_ + modem_control, terminal_ready | request_to_send | interrupt_gate);
    return true;
}

// When the interrupt is for the trigger level, that many bytes are there, and none with a break or
// an error, which would be more urgent: they are read without looking at the status of each. An
// access to a register of an emulated port costs as much as a system call.
void uart::receive(line_discipline& discipline) {
    if ((in8(port_ + interrupt_identification) & cause_mask) == cause_received)
        for (unsigned n = std::min<size_t>(trigger_level, discipline.receive_room()); n > 0; n--)
            discipline.receive(in8(port_ + data));
    while (discipline.receive_room() > 0) {
        const uint8_t state = in8(port_ + line_status);
        if (!(state & received))
            return;
        const uint8_t byte = in8(port_ + data);
        if (state & break_received)
            discipline.receive_break();
        else
            discipline.receive(byte);
    }
}

// printk on another CPU may have found the transmitter empty at the same moment: one place in the
// FIFO is left for its byte. It polls before each, so that it takes no more than that.
void uart::transmit(line_discipline& discipline) {
    while (discipline.output_waiting() && (in8(port_ + line_status) & transmitter_ready)) {
        uint8_t bytes[fifo_size - 1];
        const size_t n = discipline.take_output(bytes, sizeof bytes);
        for (size_t i = 0; i < n; i++)
            out8(port_ + data, bytes[i]);
    }
}

// The interrupt line is edge-triggered: it must fall for the next interrupt to be seen. With all of
// the port's interrupts turned off it is low, and turning them on again raises it if there is a
// reason. While the discipline has no room nothing is read: the FIFO fills, and the other side has
// to wait.
void uart::serve(line_discipline& discipline) {
    receive(discipline); // first, for it asks for the cause
    out8(port_ + interrupt_enable, 0);
    transmit(discipline); // after it, for there may be an echo
    uint8_t wanted = 0;
    if (discipline.receive_room() > 0)
        wanted |= enable_received | enable_line_status;
    if (discipline.output_waiting())
        wanted |= enable_transmitter;
    out8(port_ + interrupt_enable, wanted);
}

bool uart::idle() const { return in8(port_ + line_status) & transmitter_idle; }

void uart::send_break(bool on) {
    out8(port_ + line_control, on ? eight_bits | line_break : eight_bits);
}

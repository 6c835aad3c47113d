// uart: a 16550 serial port (National Semiconductor PC16550D), interrupt-driven both ways with its
// FIFOs on.
//
// Its owner (tty) calls it with the terminal's lock held. printk writes to the first port by
// polling, without that lock: see serve().
#pragma once

#include <cstdint>

class line_discipline;

class uart {
public:
    constexpr explicit uart(uint16_t port) : port_(port) {}

    // Whether there is a 16550 at the port. Sets it to 115,200 baud, 8 bits, no parity, FIFOs on,
    // interrupts off.
    bool start();

    // Moves bytes from the FIFO to the discipline while that has room and from the discipline to
    // the FIFO while it takes them, and asks for the interrupts that say when to go on. To be
    // called at an interrupt, and whenever the discipline has got output, or room for input.
    void serve(line_discipline& discipline);
    // Whether all that was given to it has left.
    bool idle() const;
    void send_break(bool on);

private:
    void receive(line_discipline& discipline);
    void transmit(line_discipline& discipline);

    uint16_t port_;
};

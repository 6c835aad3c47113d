// The first serial port and QEMU's debug console, as panics and early boot use them. The
// interrupt-driven terminal on the same port is the tty's.
#pragma once

#include <cstdint>

inline constexpr uint16_t com1_port = 0x3f8;

void console_initialize(); // 115,200 baud, 8 bits, no parity; interrupts off

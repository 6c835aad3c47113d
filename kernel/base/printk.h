// The kernel's log: a ring buffer, and the console unless the command line says `quiet`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

// Logs one line: "[    1.234567] " and the text; the newline may be left out. Any context,
// interrupt handlers included; at most 480 characters.
void printk(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Whether printk also writes to the console (polled). On at boot.
void printk_to_console(bool on);

// Copies log text from `position` (bytes since boot; moved forward) to `out`. A position that the
// ring has lost is first moved to the oldest text. Returns the number of bytes, 0 at the end.
size_t printk_read(uint64_t& position, std::span<char> out);
// Bytes logged since boot, and the oldest position that is still there.
uint64_t printk_end();
uint64_t printk_begin();

// A panic has begun: from here on printk takes no lock, and prints always to the console.
void printk_without_lock();
// The same at once.
void printk_unlocked(const char* format, ...) __attribute__((format(printf, 1, 2)));

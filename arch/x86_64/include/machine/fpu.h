// The floating-point and vector registers of user mode. The kernel never uses them, so a running
// thread's are in the processor, also while it is in the kernel; machine_switch() moves them
// eagerly. Areas have XSAVE's standard format (Intel SDM vol. 1, 13.4), which is also what a signal
// frame holds; without XSAVE, FXSAVE's, its first 512 bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fpu {
inline constexpr size_t alignment = 64;

void enable();       // on each CPU, once
size_t state_size(); // of an area
uint64_t features(); // XCR0: the state components in an area; 3 without XSAVE
bool has_xsave();

// The calling CPU's registers to and from an area aligned to 64. Interrupts off, or a thread that
// is switched out in between will still find its own.
void save(void* area);
// False (and registers as for a new program) when the processor refuses the contents, as it may
// with an area that came from a signal frame.
[[nodiscard]] bool restore(const void* area);
void reset();                     // as a program finds them
void initialize_area(void* area); // with what reset() loads
} // namespace fpu

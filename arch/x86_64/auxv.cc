// What auxv tells programs about the processor.
#include "arch/machine.h"

#include <machine/fpu.h>
#include <machine/instructions.h>

uint64_t machine_hwcap() { return cpuid(1).edx; }

// Bit 0 (RING3MWAIT) and bit 1 (FSGSBASE) are features that the kernel would have to turn on.
uint64_t machine_hwcap2() { return 0; }

uint64_t machine_minimum_signal_stack() {
    // The frame of sigframe.cc: siginfo, ucontext and return address, the XSAVE area and its
    // trailing mark, the red zone, and what alignment may take.
    constexpr uint64_t fixed = 8 + 128 + 304, mark = 4, red_zone = 128;
    return fixed + fpu::state_size() + mark + red_zone + fpu::alignment + 16;
}

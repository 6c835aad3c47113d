// Which floating-point exception it was: Linux's si_code for SIGFPE.
#include "arch/thread.h"

#include <cstdint>

namespace {

enum : int { FPE_FLTDIV = 3, FPE_FLTOVF, FPE_FLTUND, FPE_FLTRES, FPE_FLTINV };

// `flags` in the order that the status words of x87 and SSE share (Intel SDM vol. 1, 8.1.3
// and 10.2.3).
int code_of(uint32_t flags) {
    if (flags & 1)
        return FPE_FLTINV;
    if (flags & 4)
        return FPE_FLTDIV;
    if (flags & 8)
        return FPE_FLTOVF;
    if (flags & (16 | 2)) // underflow, denormal operand
        return FPE_FLTUND;
    if (flags & 32)
        return FPE_FLTRES;
    return 0;
}

} // namespace

int machine_fpu_exception_code(unsigned vector) {
    if (vector == 16) {
        uint16_t status, control;
        asm volatile("fnstsw %0" : "=m"(status));
        asm volatile("fnstcw %0" : "=m"(control));
        return code_of(status & ~control);
    }
    uint32_t mxcsr;
    asm volatile("stmxcsr %0" : "=m"(mxcsr));
    return code_of(mxcsr & ~(mxcsr >> 7));
}

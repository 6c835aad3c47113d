// Moving the floating-point and vector registers: XSAVE where the processor has it, else FXSAVE.
#include <machine/fpu.h>

#include "lib/assert.h"

#include <cstring>
#include <machine/cpu_features.h>
#include <machine/exception_table.h>
#include <machine/fpu_area.h>
#include <machine/instructions.h>

namespace {

constexpr uint64_t component_x87 = 1, component_sse = 2, component_avx = 4;

uint64_t components = component_x87 | component_sse;
size_t area_size = 512;

// The state that a program starts with: empty registers, all exceptions masked. In XSAVE's format
// the header says that every component is in its initial state, and only MXCSR is read.
struct initial_area : fpu_area {
    constexpr initial_area() {
        for (std::byte& each : bytes)
            each = {};
        bytes[0] = std::byte{0x7f}; // FCW 0x037f
        bytes[1] = std::byte{0x03};
        bytes[24] = std::byte{0x80}; // MXCSR 0x1f80
        bytes[25] = std::byte{0x1f};
    }
};
constinit const initial_area initial;

} // namespace

void fpu::enable() {
    if (cpu_features.xsave) {
        cpuid_result supported = cpuid(0xd);
        components = component_x87 | component_sse | (supported.eax & component_avx);
        asm volatile("xsetbv" ::"a"(uint32_t(components)), "d"(uint32_t(components >> 32)), "c"(0));
        area_size = cpuid(0xd).ebx; // for what is enabled now
        ASSERT(area_size <= sizeof(fpu_area));
    }
    reset();
}

size_t fpu::state_size() { return area_size; }
uint64_t fpu::features() { return components; }
bool fpu::has_xsave() { return cpu_features.xsave; }

void fpu::save(void* area) {
    if (cpu_features.xsave)
        asm volatile("xsave64 (%0)" ::"r"(area), "a"(uint32_t(components)),
                     "d"(uint32_t(components >> 32))
                     : "memory");
    else
        asm volatile("fxsave64 (%0)" ::"r"(area) : "memory");
}

bool fpu::restore(const void* area) {
    bool refused = true;
    if (cpu_features.xsave)
        asm volatile("1:\txrstor64 (%1)\n\t"
                     "movb $0, %0\n"
                     "2:\n" EXCEPTION_ENTRY(1b, 2b, 3)
                     : "+q"(refused)
                     : "r"(area), "a"(uint32_t(components)), "d"(uint32_t(components >> 32))
                     : "memory");
    else
        asm volatile("1:\tfxrstor64 (%1)\n\t"
                     "movb $0, %0\n"
                     "2:\n" EXCEPTION_ENTRY(1b, 2b, 3)
                     : "+q"(refused)
                     : "r"(area)
                     : "memory");
    if (refused)
        reset();
    return !refused;
}

void fpu::reset() {
    bool accepted = restore(&initial);
    ASSERT(accepted);
}

void fpu::initialize_area(void* area) { memcpy(area, &initial, sizeof initial); }

static_assert(EX_PROTECTION == 3); // as written in the entries above

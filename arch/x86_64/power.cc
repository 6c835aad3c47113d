// Off, reset, and random numbers from the processor.
#include "arch/machine.h"

#include "arch/memory.h"

#include <algorithm>
#include <cstring>
#include <machine/acpi.h>
#include <machine/cpu_features.h>
#include <machine/instructions.h>

namespace {

// QEMU's isa-debug-exit ends with status 2v + 1: 99.
constexpr uint16_t debug_exit_port = 0xf4;
constexpr uint32_t debug_exit_failure = 0x31;

constexpr uint16_t sleep_enable = 1 << 13, sci_enable = 1 << 0;

void wait_a_little() {
    for (unsigned i = 0; i < 1'000'000; i++)
        pause_instruction();
}

void enable_acpi() {
    if ((in16(acpi.pm1a_control) & sci_enable) || !acpi.smi_command || !acpi.acpi_enable)
        return;
    out8(static_cast<uint16_t>(acpi.smi_command), acpi.acpi_enable);
    for (unsigned i = 0; i < 1'000'000 && !(in16(acpi.pm1a_control) & sci_enable); i++)
        pause_instruction();
}

} // namespace

void machine_power_off(bool failure) {
    interrupts_off();
    if (failure)
        out32(debug_exit_port, debug_exit_failure);
    if (acpi.pm1a_control) {
        enable_acpi();
        out16(acpi.pm1a_control, static_cast<uint16_t>(acpi.sleep_type_a << 10 | sleep_enable));
        if (acpi.pm1b_control)
            out16(acpi.pm1b_control, static_cast<uint16_t>(acpi.sleep_type_b << 10 | sleep_enable));
        wait_a_little();
    }
    // Where QEMU's two machine types have that register, should the tables have been missing.
    out16(0x604, sleep_enable);
    out16(0xb004, sleep_enable);
    halt_forever();
}

void machine_reboot() {
    constexpr uint16_t reset_control = 0xcf9, keyboard_command = 0x64;
    interrupts_off();
    if (acpi.reset.address && acpi.reset.space == 1)
        out8(static_cast<uint16_t>(acpi.reset.address), acpi.reset_value);
    wait_a_little();
    out8(reset_control, 0x02); // a hard reset: the request, then its rising edge
    out8(reset_control, 0x06);
    wait_a_little();
    out8(keyboard_command, 0xfe); // the keyboard controller's reset line
    wait_a_little();
    // A triple fault: an exception with no table of handlers.
    struct [[gnu::packed]] {
        uint16_t limit = 0;
        uint64_t base = 0;
    } none;
    asm volatile("lidt %0; int3" ::"m"(none));
    halt_forever();
}

size_t machine_random(std::span<std::byte> out) {
    if (!cpu_features.rdrand)
        return 0;
    size_t filled = 0;
    while (filled < out.size()) {
        uint64_t value;
        bool valid = false;
        for (unsigned tries = 0; tries < 10 && !valid; tries++) // as Intel's guide advises
            asm volatile("rdrand %0" : "=r"(value), "=@ccc"(valid));
        if (!valid)
            break;
        size_t n = std::min(sizeof value, out.size() - filled);
        memcpy(out.data() + filled, &value, n);
        filled += n;
    }
    return filled;
}

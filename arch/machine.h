// The rest of what the kernel asks of the machine.
#pragma once

#include "lib/result.h"
#include "lib/thread_annotations.h"
#include "lib/types.h"

#include <cstddef>
#include <span>

// Polled output on the first serial port and QEMU's debug console; works from the first instruction
// in C++ and in a panic.
void console_write_polled(const char* text, size_t length);

// The recorder's port (kernel/observe/record.h), a second debug console of QEMU's.
bool machine_has_record_port();
void machine_record_write(const char* text, size_t length);

// The trace port, a third one: whether it is there, and a write to it. Any
// context; the caller sees to it that one CPU writes at a time.
bool machine_has_trace_port();
void machine_write_trace_port(const void* data, size_t size);

// Who is called for an interrupt, with interrupts off: its owner's, for good. Those who share a line
// are all called.
struct interrupt_handler {
    void (*function)(void* context);
    void* context;
    interrupt_handler* next CONSTANT_ONCE_SHARED = nullptr;
};
// Interrupt lines through the I/O APIC: an ISA device's is edge triggered and its own, a PCI
// device's level triggered and shared, if ACPI does not say otherwise. ENODEV: there is no such line.
enum class interrupt_kind : uint8_t { isa, pci };
status interrupt_register(unsigned line, interrupt_kind kind, interrupt_handler& handler);
// What a device writes, and where to, so that the handler is called: for MSI and MSI-X. ENOSPC: all
// vectors are in use.
struct interrupt_message {
    uint64_t address;
    uint32_t data;
};
expected<interrupt_message> interrupt_register_message(interrupt_handler& handler);

// Maps device registers, uncached, for good. ENOMEM. From drivers' start, in one thread.
expected<volatile void*> machine_map_device(paddr_t address, size_t size);

// Powers off through ACPI. The status goes to QEMU's isa-debug-exit when it is there and `failure`
// is set.
[[noreturn]] void machine_power_off(bool failure);
[[noreturn]] void machine_reboot();

// Starts all other CPUs that ACPI lists; returns when each has reached secondary_cpu_main().
void machine_start_other_cpus();

// Fills from RDRAND if the processor has it; returns how much was filled.
size_t machine_random(std::span<std::byte> out);

// For auxv: CPUID leaf 1's EDX (AT_HWCAP), AT_HWCAP2, and AT_MINSIGSTKSZ, the bytes that a signal
// frame takes.
uint64_t machine_hwcap();
uint64_t machine_hwcap2();
uint64_t machine_minimum_signal_stack();

// Memory that kernel stacks take.
uint64_t machine_kernel_stack_bytes();

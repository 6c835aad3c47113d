// The interrupt controllers: local APICs (Intel SDM vol. 3, chapter 10, xAPIC mode) and I/O APICs
// (Intel 82093AA).
#include <machine/apic.h>

#include "arch/machine.h"
#include "lib/assert.h"
#include "lib/lock.h"

#include <machine/acpi.h>
#include <machine/instructions.h>
#include <machine/paging.h>
#include <machine/percpu.h>

namespace {

// Local APIC registers, by byte offset.
constexpr unsigned reg_id = 0x20, reg_task_priority = 0x80, reg_end_of_interrupt = 0xb0;
constexpr unsigned reg_spurious = 0xf0, reg_error = 0x280, reg_command = 0x300;
constexpr unsigned reg_command_high = 0x310, reg_timer = 0x320, reg_lint0 = 0x350;
constexpr unsigned reg_lint1 = 0x360, reg_timer_initial = 0x380, reg_timer_current = 0x390;
constexpr unsigned reg_timer_divide = 0x3e0;

constexpr uint32_t spurious_enable = 1 << 8;
constexpr uint32_t lvt_masked = 1 << 16, delivery_nmi = 4 << 8, delivery_init = 5 << 8;
constexpr uint32_t delivery_startup = 6 << 8, delivery_pending = 1 << 12, level_assert = 1 << 14;
constexpr uint32_t divide_by_1 = 0xb;

constexpr uint32_t msr_apic_base = 0x1b;
constexpr uint64_t apic_base_enable = 1 << 11, apic_base_x2apic = 1 << 10;

volatile uint32_t* lapic; // every CPU finds its own at the same address

uint32_t lapic_read(unsigned reg) { return lapic[reg / 4]; }
void lapic_write(unsigned reg, uint32_t value) { lapic[reg / 4] = value; }

void send(uint32_t destination, uint32_t command) {
    while (lapic_read(reg_command) & delivery_pending)
        pause_instruction();
    lapic_write(reg_command_high, destination << 24);
    lapic_write(reg_command, command | level_assert);
}

// I/O APIC: two windows, and 64-bit redirection entries from register 0x10 on.
constexpr unsigned io_version = 1, io_redirection = 0x10;
constexpr uint64_t redirection_masked = 1 << 16, redirection_active_low = 1 << 13;
constexpr uint64_t redirection_level = 1 << 15;
constexpr unsigned redirection_destination_shift = 56;

struct io_apic {
    volatile uint32_t* registers = nullptr;
    uint32_t first_interrupt = 0;
    uint32_t inputs = 0;

    uint32_t read(unsigned reg) const {
        registers[0] = reg;
        return registers[4];
    }
    void write(unsigned reg, uint32_t value) const {
        registers[0] = reg;
        registers[4] = value;
    }
    void redirect(uint32_t input, uint64_t entry) const {
        // Masked while it changes; the low half with the mask bit last.
        write(io_redirection + 2 * input, redirection_masked);
        write(io_redirection + 2 * input + 1, static_cast<uint32_t>(entry >> 32));
        write(io_redirection + 2 * input, static_cast<uint32_t>(entry));
    }
};

spin_lock io_lock{lock_rank::device, "io_apic"};
io_apic io_apics[acpi_info::max_io_apics] GUARDED_BY(io_lock);
size_t io_apic_count;

// Of each vector for devices, the handler that was registered last. Added to under io_lock, and
// read by interrupts without it: a handler is complete before it is published.
std::atomic<interrupt_handler*> handlers[vector_message_end - vector_isa_base];
uint8_t next_message GUARDED_BY(io_lock) = vector_message_base;

void publish(uint8_t vector, interrupt_handler& h) REQUIRES(io_lock) {
    std::atomic<interrupt_handler*>& head = handlers[vector - vector_isa_base];
    h.next = head.load(std::memory_order_relaxed);
    head.store(&h, std::memory_order_release);
}

// Has an I/O APIC send global interrupt `number`. False: none has it.
bool redirect(uint32_t number, uint64_t entry) REQUIRES(io_lock) {
    for (size_t i = 0; i < io_apic_count; i++) {
        io_apic& a = io_apics[i];
        if (number >= a.first_interrupt && number - a.first_interrupt < a.inputs) {
            a.redirect(number - a.first_interrupt, entry);
            return true;
        }
    }
    return false;
}

void mask_legacy_controllers() {
    constexpr uint16_t master = 0x20, slave = 0xa0;
    // Moved away from the exceptions' vectors first: a spurious interrupt comes even when all is
    // masked.
    const struct {
        uint16_t port;
        uint8_t value;
    } sequence[] = {
        {master, 0x11},
        {slave, 0x11},
        {master + 1, vector_pic_base},
        {slave + 1, vector_pic_base + 8},
        {master + 1, 4},
        {slave + 1, 2},
        {master + 1, 1},
        {slave + 1, 1},
        {master + 1, 0xff},
        {slave + 1, 0xff},
    };
    for (auto [port, value] : sequence)
        out8(port, value);
}

} // namespace

void lapic_enable() {
    uint64_t base = read_msr(msr_apic_base);
    if (base & apic_base_x2apic)
        panic("the firmware left the local APIC in x2APIC mode");
    write_msr(msr_apic_base, base | apic_base_enable);
    if (!lapic)
        lapic = static_cast<volatile uint32_t*>(map_device(acpi.lapic, 0x1000));
    lapic_write(reg_spurious, spurious_enable | vector_spurious);
    lapic_write(reg_lint0, lvt_masked);
    // After LINT0: the firmware's timer may just be asking for an interrupt through it. QEMU looks
    // again at what is pending when this register is written, and else delivers, at the first STI,
    // an interrupt that is not there (#GP).
    lapic_write(reg_task_priority, 0);
    lapic_write(reg_lint1, delivery_nmi);
    lapic_write(reg_error, 0);
    lapic_write(reg_timer_divide, divide_by_1);
    lapic_write(reg_timer, vector_timer);
    lapic_timer_start(0);
    lapic_end_of_interrupt();
}

uint32_t lapic_id() { return lapic_read(reg_id) >> 24; }
void lapic_end_of_interrupt() { lapic_write(reg_end_of_interrupt, 0); }
void lapic_send_ipi(unsigned cpu, uint8_t vector) { send(cpus[cpu].lapic_id, vector); }
void lapic_send_nmi(unsigned cpu) { send(cpus[cpu].lapic_id, delivery_nmi); }
void lapic_send_init(uint32_t id) { send(id, delivery_init); }
void lapic_send_startup(uint32_t id, uint8_t page) { send(id, delivery_startup | page); }
void lapic_timer_start(uint32_t count) { lapic_write(reg_timer_initial, count); }
uint32_t lapic_timer_remaining() { return lapic_read(reg_timer_current); }

void ioapic_initialize() {
    mask_legacy_controllers();
    lock_guard guard(io_lock);
    if (acpi.io_apic_count == 0) { // no tables: where it is on every PC
        acpi.io_apics[0] = {paddr_t(0xfec0'0000), 0};
        acpi.io_apic_count = 1;
    }
    for (size_t i = 0; i < acpi.io_apic_count; i++) {
        io_apic& a = io_apics[io_apic_count++];
        a.registers = static_cast<volatile uint32_t*>(map_device(acpi.io_apics[i].address, 0x20));
        a.first_interrupt = acpi.io_apics[i].first_interrupt;
        a.inputs = (a.read(io_version) >> 16 & 0xff) + 1;
        for (uint32_t n = 0; n < a.inputs; n++)
            a.redirect(n, redirection_masked);
    }
}

status interrupt_register(unsigned line, interrupt_kind kind, interrupt_handler& handler) {
    if (line >= 16)
        return fail(Errno::nodev);
    const acpi_info::isa_line& is = acpi.isa[line];
    const bool pci = kind == interrupt_kind::pci && !is.told;
    uint64_t entry = vector_isa_base + line;
    entry |= is.active_low || pci ? redirection_active_low : 0;
    entry |= is.level || pci ? redirection_level : 0;
    entry |= uint64_t{cpus[0].lapic_id} << redirection_destination_shift;
    lock_guard guard(io_lock);
    publish(static_cast<uint8_t>(vector_isa_base + line), handler);
    return redirect(is.interrupt, entry) ? status{} : fail(Errno::nodev);
}

// SDM vol. 3, 10.11: the address names the processor, the data the vector; edge triggered.
expected<interrupt_message> interrupt_register_message(interrupt_handler& handler) {
    lock_guard guard(io_lock);
    if (next_message == vector_message_end)
        return fail(Errno::nospc);
    const uint8_t vector = next_message++;
    publish(vector, handler);
    return interrupt_message{0xfee0'0000 | uint64_t{cpus[0].lapic_id} << 12, vector};
}

void device_interrupt(uint8_t vector) {
    if (vector < vector_isa_base || vector >= vector_message_end)
        return; // spurious, from the legacy controllers
    const auto& head = handlers[vector - vector_isa_base];
    for (interrupt_handler* h = head.load(std::memory_order_acquire); h; h = h->next)
        h->function(h->context);
}

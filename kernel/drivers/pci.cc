// Finding PCI's functions, and giving them addresses (PCI Local Bus 3.0, chapter 6).
//
// A bus is asked when a bridge to it has been found, so that a machine with one bus costs 32
// questions. What the firmware has assigned stays; what it has not, which is everything under qboot,
// is assigned when a driver wants it, around all that is in use.
#include "kernel/drivers/pci.h"

#include "kernel/base/printk.h"
#include "lib/assert.h"
#include "vm/phys/pool.h"

#include <iterator>

namespace {

// Configuration registers.
constexpr unsigned reg_command = 0x04, reg_header = 0x0e, reg_bars = 0x10;
constexpr unsigned reg_buses = 0x18, reg_window = 0x20, reg_prefetch_window = 0x24;
constexpr unsigned reg_prefetch_base_high = 0x28, reg_prefetch_limit_high = 0x2c;
constexpr unsigned reg_capabilities = 0x34, reg_interrupt_line = 0x3c;
constexpr uint32_t command_io = 1, command_memory = 2, command_master = 4;
constexpr uint32_t command_no_line = 1 << 10;
constexpr uint32_t status_capabilities = 1 << 20; // in the command's register
constexpr uint32_t bar_is_io = 1, bar_type = 6, bar_type_64 = 4, bar_flags = 15;
constexpr uint8_t header_bridge = 1, header_many = 0x80;
constexpr unsigned first_capability = 0x40, config_size = 256;

// Routers of interrupts: device and vendor.
constexpr uint32_t piix3 = 0x7000'8086, ich9 = 0x2918'8086;

// MSI-X (PCI 3.0, 6.8.2).
constexpr uint8_t capability_msix = 0x11;
constexpr uint32_t msix_enable = 1u << 31, msix_mask_all = 1u << 30;

constinit pool<pci_function> functions{"pci_function"};
list<pci_function, &pci_function::of_all> all_functions;

// The command register, with zeros for the status beside it, whose bits are cleared by ones.
void change_command(pci_function& f, uint32_t set, uint32_t clear = 0) {
    f.write(reg_command, (f.read(reg_command) & 0xffff & ~clear) | set);
}

} // namespace

// What is in use of the addresses for memory.
class pci_memory {
public:
    // A free place, as naturally aligned as it is large. ENOSPC.
    static expected<uint64_t> find(uint64_t size) {
        uint64_t at = pci_window_start.value();
        for (;;) {
            at = (at + size - 1) & ~(size - 1);
            if (at >= pci_window_end.value() || size > pci_window_end.value() - at)
                return fail(Errno::nospc);
            const uint64_t in_the_way = end_of_overlap(at, size);
            if (!in_the_way)
                return at;
            at = in_the_way;
        }
    }

private:
    // The end of something that lies in [at, at + size); 0: nothing does.
    static uint64_t end_of_overlap(uint64_t at, uint64_t size) {
        auto meets = [&](const pci_function::range& r) {
            return r.size && r.start && r.start < at + size && at < r.end();
        };
        for (const pci_function& f : all_functions) {
            for (const auto& bar : f.bars_)
                if (meets(bar))
                    return bar.end();
            for (const auto& window : f.window_)
                if (meets(window))
                    return window.end();
        }
        return 0;
    }
};

// Each register is as large as its lowest bit that can be written. The function answers at no
// address meanwhile; none has a driver yet.
void pci_function::size_registers(unsigned count) {
    const uint32_t command = read(reg_command) & 0xffff;
    write(reg_command, command & ~(command_io | command_memory));
    for (unsigned i = 0; i < count; i++) {
        const unsigned reg = reg_bars + 4 * i;
        const uint32_t was = read(reg);
        write(reg, ~0u);
        const uint32_t writable = read(reg);
        write(reg, was);
        if (writable & bar_is_io)
            continue;
        uint64_t mask = writable & ~bar_flags, start = was & ~bar_flags;
        const unsigned bar = i;
        wide_[bar] = (writable & bar_type) == bar_type_64 && i + 1 < count;
        if (wide_[bar]) {
            i++;
            const uint32_t high = read(reg + 4);
            write(reg + 4, ~0u);
            mask |= uint64_t{read(reg + 4)} << 32;
            write(reg + 4, high);
            start |= uint64_t{high} << 32;
        } else if (mask != 0) {
            mask |= ~uint64_t{0} << 32;
        }
        if (mask != 0)
            bars_[bar] = {start, mask & -mask};
    }
    write(reg_command, command);
}

// A bridge's windows, of whole MiB: limits include their last one.
void pci_function::find_memory() {
    if ((read8(reg_header) & ~header_many) != header_bridge) {
        size_registers(6);
        return;
    }
    size_registers(2);
    auto window = [](uint64_t base, uint64_t limit) {
        limit |= 0xf'ffff;
        return base && base < limit ? range{base, limit + 1 - base} : range{};
    };
    const uint32_t plain = read(reg_window), prefetch = read(reg_prefetch_window);
    window_[0] = window((plain & 0xfff0) << 16, plain & 0xfff0'0000);
    window_[1] = window(uint64_t{read(reg_prefetch_base_high)} << 32 | (prefetch & 0xfff0) << 16,
                        uint64_t{read(reg_prefetch_limit_high)} << 32 | (prefetch & 0xfff0'0000));
}

void pci_scan() {
    bool wanted[256] = {true};
    // A bridge leads to a bus with a greater number than its own; what says else is not followed.
    for (unsigned bus = 0; bus < std::size(wanted); bus++) {
        if (!wanted[bus])
            continue;
        pci_open_bus(uint8_t(bus));
        for (unsigned n = 0; n < 32 * 8; n++) {
            const pci_address at{uint8_t(bus), uint8_t(n / 8), uint8_t(n % 8)};
            if ((pci_config_read(at, 0) & 0xffff) == 0xffff) {
                n |= at.function == 0 ? 7 : 0; // without function 0 there is none
                continue;
            }
            pci_function* f = functions.create(at);
            if (!f) {
                printk("pci: no memory for %02x:%02x.%x", bus, at.device, at.function);
                return;
            }
            all_functions.push_back(*f);
            f->find_memory();
            const uint8_t header = f->read8(reg_header), next = f->read8(reg_buses + 1);
            if ((header & ~header_many) == header_bridge && next > bus)
                wanted[next] = true;
            n |= at.function == 0 && !(header & header_many) ? 7 : 0;
        }
    }
}

pci_function* pci_next(pci_function* after) {
    return after ? all_functions.next(*after) : all_functions.front();
}

// The list may be a circle, or lead anywhere: it is followed as far as one of the shortest
// capabilities can reach.
unsigned pci_function::find_capability(uint8_t id, size_t size, unsigned after) const {
    if (!(read(reg_command) & status_capabilities))
        return 0;
    unsigned at = read8(after ? after + 1 : reg_capabilities);
    for (unsigned n = 0; n < (config_size - first_capability) / 4; n++) {
        at &= ~3u;
        if (at < first_capability)
            return 0;
        if (read8(at) == id && at + size <= config_size)
            return at;
        at = read8(at + 1);
    }
    return 0;
}

status pci_function::assign(unsigned bar) {
    // Behind a bridge only what the bridge lets through is of use, and that the firmware has set.
    if (address.bus != 0)
        return fail(Errno::nospc);
    const uint64_t start = TRY(pci_memory::find(bars_[bar].size));
    change_command(*this, 0, command_memory);
    write(reg_bars + 4 * bar, uint32_t(start));
    if (wide_[bar])
        write(reg_bars + 4 * bar + 4, 0);
    bars_[bar].start = start;
    change_command(*this, command_memory);
    return {};
}

expected<volatile void*> pci_function::map(unsigned bar, uint64_t offset, uint64_t size) {
    if (bar >= 6 || size == 0 || size > bars_[bar].size || offset > bars_[bar].size - size)
        return fail(Errno::nodev);
    if (!bars_[bar].start)
        TRY(assign(bar));
    return machine_map_device(paddr_t(bars_[bar].start + offset), size);
}

void pci_function::enable() { change_command(*this, command_memory | command_master); }
void pci_function::stop() { change_command(*this, 0, command_master); }

status pci_function::use_message(interrupt_handler& handler) {
    const unsigned at = find_capability(capability_msix, 12);
    if (!at)
        return fail(Errno::nodev);
    constexpr size_t entry_size = 16;
    const uint32_t table = read(at + 4);
    auto* entry = static_cast<volatile uint32_t*>(TRY(map(table & 7, table & ~7u, entry_size)));
    const interrupt_message message = TRY(interrupt_register_message(handler));
    entry[0] = uint32_t(message.address);
    entry[1] = uint32_t(message.address >> 32);
    entry[2] = message.data;
    entry[3] = 0; // not masked
    write(at, (read(at) | msix_enable) & ~msix_mask_all);
    change_command(*this, command_no_line);
    return {};
}

// The line that a function's pin leads to. What the firmware has noted at the function is for people;
// qboot notes another one than it has set. The router knows: PIIX3's (Intel 82371SB, 2.2.8), in a PC of
// 1996, or ICH9's, in one of 2009. The boards differ in which of its inputs a slot's pins lead to.
uint8_t pci_function::line() const {
    const unsigned pin = read8(reg_interrupt_line + 1) - 1u; // INTA is 1
    if (address.bus == 0 && pin < 4)
        for (const pci_function& router : all_functions) {
            unsigned reg = 0;
            if (router.read(0) == piix3)
                reg = 0x60 + ((address.device + pin + 3) & 3);
            else if (router.read(0) == ich9)
                reg = 0x68 + ((address.device + pin) & 3);
            if (const uint8_t to = reg ? router.read8(reg) : 0; to && to < 16)
                return to;
        }
    return read8(reg_interrupt_line);
}

status pci_function::use_line(interrupt_handler& handler) {
    const uint8_t line = this->line(); // 0 is the timer's: nobody has set any
    return line ? interrupt_register(line, interrupt_kind::pci, handler) : fail(Errno::nodev);
}

#include "kernel/drivers/virtio.h"

#include "arch/memory.h"
#include "vm/phys/pool.h"

#include <algorithm>
#include <bit>

namespace {

constexpr uint16_t vendor_virtio = 0x1af4, first_old_device = 0x1000, first_device = 0x1040;

// A capability that says where a structure lies (4.1.4).
constexpr uint8_t capability_vendor = 9;
constexpr unsigned capability_size = 16, capability_type = 3, capability_bar = 4;
constexpr unsigned capability_offset = 8, capability_length = 12, capability_multiplier = 16;
constexpr uint8_t type_common = 1, type_notify = 2, type_isr = 3, type_device = 4;

// The common structure (4.1.4.3).
constexpr unsigned device_feature_select = 0, device_feature = 4, driver_feature_select = 8;
constexpr unsigned driver_feature = 12, config_vector = 16, device_status = 20;
constexpr unsigned config_generation = 21, queue_select = 22, queue_size = 24, queue_vector = 26;
constexpr unsigned queue_enable = 28, queue_notify_offset = 30, queue_descriptors = 32;
constexpr unsigned queue_available = 40, queue_used = 48, common_size = 56;

constexpr uint8_t status_acknowledge = 1, status_driver = 2, status_driver_ok = 4;
constexpr uint8_t status_features_ok = 8, status_needs_reset = 64;
constexpr uint16_t no_vector = 0xffff;
constexpr unsigned feature_version_1 = 32;

} // namespace

bool virtio_device::is(const pci_function& f, kind what) {
    // The numbers of the old devices are not those of their kinds: 0x1001 is a disk.
    const uint16_t old = what == block ? first_old_device + 1 : 0;
    return f.vendor() == vendor_virtio && (f.device() == first_device + what || f.device() == old);
}

// The first structure of a type that can be mapped is the one to use.
expected<volatile uint8_t*> virtio_device::structure(uint8_t type, size_t size, uint32_t* length,
                                                     uint32_t* multiplier) {
    const size_t whole = capability_size + (multiplier ? 4 : 0);
    unsigned at = 0, looks = 0; // the list may be a circle
    while (looks++ < 64 && (at = function_->find_capability(capability_vendor, whole, at))) {
        if (function_->read8(at + capability_type) != type ||
            function_->read8(at + 2) < whole) // its own length
            continue;
        const uint32_t bytes = function_->read(at + capability_length);
        if (bytes < size)
            continue;
        // No more of it than a driver may want, whatever the device says.
        const uint32_t mapped_bytes = std::min<uint32_t>(bytes, 4 * page_size);
        auto mapped = function_->map(function_->read8(at + capability_bar),
                                     function_->read(at + capability_offset), mapped_bytes);
        if (!mapped)
            return fail(mapped.error());
        if (length)
            *length = mapped_bytes;
        if (multiplier)
            *multiplier = function_->read(at + capability_multiplier);
        return static_cast<volatile uint8_t*>(*mapped);
    }
    return fail(Errno::nodev);
}

status virtio_device::open(pci_function& f) {
    function_ = &f;
    common_ = TRY(structure(type_common, common_size));
    notify_area_ = TRY(structure(type_notify, 2, &notify_size_, &notify_multiplier_));
    isr_ = TRY(structure(type_isr, 1));
    config_ = TRY(structure(type_device, 1, &config_size_));
    f.enable();
    if (!reset())
        return fail(Errno::nodev);
    set_status(status_acknowledge);
    set_status(status_driver);
    return {};
}

void virtio_device::set_status(uint8_t bits) {
    common<uint8_t>(device_status) = uint8_t(common<uint8_t>(device_status) | bits);
}

// The specification has the driver read until it is so; there is no interrupt for it. A device that
// never is has been told to leave memory alone by then, or will be.
bool virtio_device::reset() {
    common<uint8_t>(device_status) = 0;
    for (unsigned i = 0; i < 1000; i++)
        if (common<uint8_t>(device_status) == 0)
            return true;
    return false;
}

status virtio_device::negotiate(uint64_t wanted) {
    wanted |= uint64_t{1} << feature_version_1;
    uint64_t offered = 0;
    for (unsigned half = 0; half < 2; half++) {
        common<uint32_t>(device_feature_select) = half;
        offered |= uint64_t{common<uint32_t>(device_feature)} << 32 * half;
    }
    features_ = offered & wanted;
    if (!has(feature_version_1))
        return fail(Errno::nodev);
    for (unsigned half = 0; half < 2; half++) {
        common<uint32_t>(driver_feature_select) = half;
        common<uint32_t>(driver_feature) = uint32_t(features_ >> 32 * half);
    }
    set_status(status_features_ok);
    if (!(common<uint8_t>(device_status) & status_features_ok))
        return fail(Errno::nodev);
    return {};
}

// Several reads are of one instant if the generation did not change meanwhile (4.1.4.3.1); a device
// in which it changes all the time gives what it gives.
void virtio_device::config_bytes(unsigned offset, uint8_t* out, size_t size) const {
    if (offset + size > config_size_)
        return;
    for (unsigned tries = 0; tries < 10; tries++) {
        const uint8_t before = common<uint8_t>(config_generation);
        for (size_t i = 0; i < size; i++)
            out[i] = config_[offset + i];
        if (common<uint8_t>(config_generation) == before)
            return;
    }
}

status virtio_device::use_interrupts(interrupt_handler& handler) {
    by_message_ = function_->use_message(handler).has_value();
    return by_message_ ? status{} : function_->use_line(handler);
}

status virtio_device::start_queue(virtqueue& q) {
    common<uint16_t>(queue_select) = 0;
    const unsigned count =
        std::bit_floor(std::min<unsigned>(common<uint16_t>(queue_size), virtqueue::most));
    if (count < 4)
        return fail(Errno::nodev);
    const size_t bytes = virtqueue::bytes(count); // in one piece, as kmem's are
    void* memory = kmem_zalloc(bytes);
    if (!memory)
        return fail(Errno::nomem);
    q.initialize(memory, count);

    auto set_address = [&](unsigned offset, const void* p) {
        const uint64_t address = direct_map_address(p).value();
        common<uint32_t>(offset) = uint32_t(address);
        common<uint32_t>(offset + 4) = uint32_t(address >> 32);
    };
    common<uint16_t>(queue_size) = uint16_t(count);
    set_address(queue_descriptors, q.descriptors());
    set_address(queue_available, q.available());
    set_address(queue_used, q.used());
    if (by_message_) {
        common<uint16_t>(config_vector) = 0;
        common<uint16_t>(queue_vector) = 0;
    }
    const uint64_t notify_at = uint64_t{common<uint16_t>(queue_notify_offset)} * notify_multiplier_;
    if ((by_message_ && common<uint16_t>(queue_vector) == no_vector) ||
        notify_at + sizeof(uint16_t) > notify_size_) {
        kmem_free(memory, bytes);
        return fail(Errno::nodev);
    }
    notify_ = reinterpret_cast<volatile uint16_t*>(notify_area_ + notify_at);
    common<uint16_t>(queue_enable) = 1;
    return {};
}

void virtio_device::start() { set_status(status_driver_ok); }

bool virtio_device::needs_reset() const {
    return common<uint8_t>(device_status) & status_needs_reset;
}

// First the bus: what the device then still wants to read or write does not reach memory.
void virtio_device::stop() {
    function_->stop();
    (void)reset();
}

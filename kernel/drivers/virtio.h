// virtio_device: a device of virtio 1.x behind PCI (virtio 1.2, 4.1), which a driver of its kind uses.
//
// Devices that are both old and new ("transitional") are used as new ones. From open() on the
// registers are mapped; the driver serialises what it does with them.
#pragma once

#include "kernel/drivers/pci.h"
#include "kernel/drivers/virtqueue.h"

class virtio_device {
public:
    enum kind : uint16_t { block = 2 };
    // Whether that is what `f` is.
    static bool is(const pci_function& f, kind what);

    // Finds the registers and resets the device. ENODEV: it is none that we can use. ENOMEM.
    status open(pci_function& f);
    // Agrees on what both sides know of `wanted`. ENODEV: not even on being a device of virtio 1.
    status negotiate(uint64_t wanted);
    bool has(unsigned feature) const { return features_ >> feature & 1; }
    // From the device's own registers, all of one instant; zero beyond their end.
    template <class T> T config(unsigned offset) const;
    // Before its queue is made: its interrupts, by message or by line, will call `handler`. ENODEV.
    status use_interrupts(interrupt_handler& handler);
    // Makes queue 0, with nothing in it. ENODEV, ENOMEM.
    status start_queue(virtqueue& q);
    // The device may begin.
    void start();
    bool by_message() const { return by_message_; }

    // Tells the device that something was added to the queue.
    void notify() const { *notify_ = 0; }
    // In an interrupt: whether it was this device's.
    bool interrupted() const { return by_message_ || *isr_ != 0; }
    // Whether the device has found itself unable to go on.
    bool needs_reset() const;
    // The device forgets its queues, and touches no memory from here on.
    void stop();

private:
    expected<volatile uint8_t*> structure(uint8_t type, size_t size, uint32_t* length = nullptr,
                                          uint32_t* multiplier = nullptr);
    void set_status(uint8_t bits);
    bool reset();
    template <class T> volatile T& common(unsigned offset) const {
        return *reinterpret_cast<volatile T*>(common_ + offset);
    }
    void config_bytes(unsigned offset, uint8_t* out, size_t size) const;

    pci_function* function_ = nullptr;
    volatile uint8_t *common_ = nullptr, *isr_ = nullptr, *config_ = nullptr;
    volatile uint8_t* notify_area_ = nullptr;
    volatile uint16_t* notify_ = nullptr;
    uint32_t notify_size_ = 0, notify_multiplier_ = 0, config_size_ = 0;
    uint64_t features_ = 0;
    bool by_message_ = false;
};

template <class T> T virtio_device::config(unsigned offset) const {
    T value{};
    config_bytes(offset, reinterpret_cast<uint8_t*>(&value), sizeof value);
    return value;
}

// The terminals on serial lines. Their interrupt handler takes tty::lock_; it wakes no reader and no
// writer itself: there may be as many as a user likes.
#include "arch/machine.h"
#include "kernel/base/panic.h"
#include "kernel/files/vnode.h"
#include "kernel/sched/kernel_thread.h"
#include "kernel/sched/timer.h"
#include "kernel/tty/tty.h"
#include "kernel/tty/uart.h"

namespace {

constexpr uint32_t serial_major = 4, first_serial_minor = 64;

class serial_tty final : public tty {
public:
    serial_tty(unsigned line, uint16_t port, unsigned irq)
        : tty(lock_rank::tty), uart_(port), line_(line), irq_(irq) {}
    void last_reference_gone() override { panic("a serial line has ended"); }
    uint64_t device() const override {
        return make_device(serial_major, first_serial_minor + line_);
    }

    void start(); // at boot
    bool present() const { return present_; }

private:
    static void on_interrupt(void* self);
    static void after_interrupt(void* self);
    [[noreturn]] static void run_sender(void* self);

    void serve_line(effects&) override REQUIRES(lock_) { uart_.serve(discipline_); }
    void signals_typed(effects&) override REQUIRES(lock_) { sender_.wake_one(); }
    bool drained() override REQUIRES(lock_) {
        return discipline_.output_bytes() == 0 && uart_.idle();
    }
    bool set_break(bool on) override {
        lock_guard guard(lock_);
        uart_.send_break(on);
        return true;
    }
    bool hangs_up_with_session() const override { return true; }

    uart uart_ GUARDED_BY(lock_);
    effects of_interrupts_ GUARDED_BY(lock_); // not settled yet
    timer_event settling_{timer_call::deferred};
    wait_queue sender_ GUARDED_BY(lock_); // of signals
    const unsigned line_, irq_;
    interrupt_handler interrupt_ CONSTANT_ONCE_SHARED{on_interrupt, this};
    bool present_ CONSTANT_ONCE_SHARED = false;
};

serial_tty lines[tty_line_count] = {{0, 0x3f8, 4}, {1, 0x2f8, 3}};

void serial_tty::start() {
    {
        lock_guard guard(lock_);
        present_ = uart_.start();
        if (!present_)
            return;
        if (!interrupt_register(irq_, interrupt_kind::isa, interrupt_))
            panic("no I/O APIC has interrupt line %u", irq_);
        uart_.serve(discipline_);
    }
    if (!kernel_thread_start("tty", run_sender, this))
        panic("tty: no memory for its thread");
}

void serial_tty::on_interrupt(void* self) {
    auto& t = *static_cast<serial_tty*>(self);
    lock_guard guard(t.lock_);
    effects& e = t.of_interrupts_;
    t.serve(e);
    if (e.any())
        t.settling_.set(0, after_interrupt, self);
}

void serial_tty::after_interrupt(void* self) {
    auto& t = *static_cast<serial_tty*>(self);
    effects e;
    {
        lock_guard guard(t.lock_);
        e = std::exchange(t.of_interrupts_, {});
    }
    t.settle(e);
}

// A thread of the kernel's: a group may have thousands of members, and an interrupt handler no time
// for them.
void serial_tty::run_sender(void* self) {
    auto& t = *static_cast<serial_tty*>(self);
    for (;;) {
        {
            lock_guard guard(t.lock_);
            while (!t.signals_)
                t.sender_.wait(t.lock_, "tty");
        }
        t.send_signals();
    }
}

} // namespace

void tty_init() {
    for (serial_tty& line : lines)
        line.start();
}

expected<ref_ptr<file>> tty_open(vnode& node, unsigned line, uint32_t flags) {
    if (line >= tty_line_count || !lines[line].present())
        return fail(Errno::nxio);
    return lines[line].open(node, flags);
}

// A request on its way:
//
//     start()   a chain of descriptors if there are enough, else into the queue of those that wait
//     (the device reads or writes the memory, and interrupts)
//     serve()   the chains that have come back: each request is done; those that wait, started
//
// A request is tried once. The device has tried already what there is to try, and nobody but the
// request's maker knows whether to do it again is right: a flush that fails and then succeeds says
// nothing about what was lost.
#include "kernel/drivers/virtio_blk.h"

#include "arch/memory.h"
#include "arch/timer.h"
#include "kernel/base/printk.h"
#include "kernel/drivers/disks.h"
#include "kernel/drivers/virtio.h"
#include "kernel/sched/sched.h"
#include "kernel/sched/timer.h"
#include "lib/assert.h"
#include "vm/phys/event.h"
#include "vm/phys/pool.h"

#include <algorithm>
#include <bit>

namespace {

// Features, and the registers that they speak of.
constexpr unsigned feature_size_max = 1, feature_seg_max = 2, feature_read_only = 5;
constexpr unsigned feature_blk_size = 6, feature_flush = 9, feature_config_wce = 11;
constexpr unsigned config_capacity = 0, config_size_max = 8, config_seg_max = 12;
constexpr unsigned config_blk_size = 20, config_write_back = 32;

constexpr uint32_t type_read = 0, type_write = 1, type_flush = 4;
constexpr uint8_t answer_ok = 0, answer_none = 0xff;

constexpr unsigned most_segments = 32; // in a request: 128 KiB
// What one interrupt does at most. Interrupts are off meanwhile.
constexpr unsigned at_once = 8;

// What the device reads before a request's data, and writes behind it.
struct frame {
    uint32_t type = 0, reserved = 0;
    uint64_t sector = 0;
    uint8_t answer = answer_none;
    uint8_t padding[15] = {};
};
static_assert(sizeof(frame) == 32);

class virtio_disk final : public disk_driver {
public:
    status open(pci_function& f);
    NO_ALLOC void start(disk_request& r) override;

private:
    static void on_interrupt(void* self) { static_cast<virtio_disk*>(self)->interrupt(); }
    static void fire(void* self) { static_cast<virtio_disk*>(self)->serve(); }
    void interrupt();
    unsigned serve();
    disk_request* take_done() REQUIRES(lock_);
    disk_request* take_any() REQUIRES(lock_);
    status result_of(const disk_request& r, unsigned chain, uint32_t written) REQUIRES(lock_);
    void hand_over(disk_request& r) REQUIRES(lock_);
    void start_waiting() REQUIRES(lock_);
    void give_up(const char* why) REQUIRES(lock_);
    void tell_of_error(const disk_request& r) REQUIRES(lock_);
    expected<disk::facts> read_facts() const;
    frame* frame_of(unsigned chain) const { return frames_ + chain; }

    virtio_device device_ CONSTANT_ONCE_SHARED;
    interrupt_handler interrupt_ CONSTANT_ONCE_SHARED{on_interrupt, this};
    frame* frames_ CONSTANT_ONCE_SHARED = nullptr; // one for each chain
    const char* name_ CONSTANT_ONCE_SHARED = "virtio_blk";

    spin_lock lock_{lock_rank::disk, "virtio_blk"};
    virtqueue queue_ GUARDED_BY(lock_);
    disk_request* running_[virtqueue::most] GUARDED_BY(lock_) = {}; // by chain; the device's
    list<disk_request, &disk_request::waiting> waiting_ GUARDED_BY(lock_);
    uint32_t under_way_ GUARDED_BY(lock_) = 0;  // of running_
    bool given_up_ GUARDED_BY(lock_) = true;    // everything is EIO; until there is a queue, too
    nanos_t errors_told_ GUARDED_BY(lock_) = 0; // when
    uint64_t errors_untold_ GUARDED_BY(lock_) = 0;
    timer_event more_; // when there was more to do than `at_once`
};

constinit pool<virtio_disk> virtio_disks{"virtio_disk"};

disk_segment segment_of(const void* start, size_t size) {
    return {direct_map_address(start), uint32_t(size)};
}

void virtio_disk::start(disk_request& r) {
    {
        lock_guard guard(lock_);
        if (!given_up_) {
            waiting_.push_back(r);
            start_waiting();
            return;
        }
    }
    disk_finish(r, fail(Errno::io));
}

// In their order: none is passed by others for being large.
void virtio_disk::start_waiting() {
    bool any = false;
    for (unsigned i = 0; i < at_once; i++) {
        disk_request* r = waiting_.front();
        if (!r || r->segments.size() + 2 > queue_.room())
            break;
        waiting_.remove(*r);
        hand_over(*r);
        any = true;
    }
    if (any && queue_.wants_notice())
        device_.notify();
}

void virtio_disk::hand_over(disk_request& r) {
    constexpr uint32_t types[] = {type_read, type_write, type_flush};
    const unsigned chain = queue_.next_chain();
    frame& f = *frame_of(chain);
    const bool flush = r.operation == disk_operation::flush;
    f = {.type = types[unsigned(r.operation)], .sector = flush ? 0 : r.of->is.first + r.sector};
    disk_segment pieces[most_segments + 2];
    const size_t count = r.segments.size();
    pieces[0] = segment_of(&f, offsetof(frame, answer));
    std::ranges::copy(r.segments, pieces + 1);
    pieces[count + 1] = segment_of(&f.answer, 1);
    const std::span<const disk_segment> all(pieces, count + 2);
    const size_t read_by_device = r.operation == disk_operation::write ? count + 1 : 1;
    [[maybe_unused]] const unsigned given =
        queue_.add(all.first(read_by_device), all.subspan(read_by_device));
    ASSERT(given == chain);
    running_[chain] = &r;
    under_way_++;
    EVENT(disk_start, .disk = trace::text(r.of->is.name),
          .what = static_cast<trace::disk_transfer>(r.operation), .sector = f.sector,
          .bytes = uint32_t(r.size()), .under_way = under_way_);
}

status virtio_disk::result_of(const disk_request& r, unsigned chain, uint32_t written) {
    const uint8_t answer = std::atomic_ref(frame_of(chain)->answer).load(std::memory_order_relaxed);
    // A read that says that it went well has filled all of the memory, and the answer's byte.
    const bool whole = r.operation != disk_operation::read || written > r.size();
    if (answer == answer_ok && whole)
        return {};
    tell_of_error(r);
    return fail(Errno::io);
}

// The first one, and then a line in five seconds at most.
void virtio_disk::tell_of_error(const disk_request& r) {
    constexpr nanos_t between = 5 * nanos_per_second;
    const nanos_t time = now();
    if (errors_told_ && time - errors_told_ < between) {
        errors_untold_++;
        return;
    }
    constexpr const char* names[] = {"read", "write", "flush"};
    printk("%s: I/O error, %s of %lu bytes at sector %lu; %lu more since the last such line",
           r.of->is.name, names[unsigned(r.operation)], r.size(), r.sector, errors_untold_);
    errors_told_ = time;
    errors_untold_ = 0;
}

// Told once, for nothing goes to the device any more. Those that it had are their makers' again:
// it cannot reach memory.
void virtio_disk::give_up(const char* why) {
    given_up_ = true;
    device_.stop();
    printk("%s: %s; it is used no more, and everything on it is an I/O error", name_, why);
}

disk_request* virtio_disk::take_done() {
    const virtqueue::taken taken = queue_.take();
    if (taken.what == virtqueue::answer::nonsense)
        give_up("the device has answered what it was not asked");
    if (taken.what != virtqueue::answer::chain)
        return nullptr;
    disk_request* r = std::exchange(running_[taken.chain], nullptr);
    under_way_--;
    r->result = result_of(*r, taken.chain, taken.written);
    return r;
}

// Of a device that was given up.
disk_request* virtio_disk::take_any() {
    disk_request* r = nullptr;
    if (under_way_) {
        disk_request** at = std::ranges::find_if(running_, [](disk_request* p) { return p; });
        r = std::exchange(*at, nullptr);
        under_way_--;
    } else {
        r = waiting_.pop_front();
    }
    if (r)
        r->result = fail(Errno::io);
    return r;
}

// Interrupts are off. How many requests were done.
unsigned virtio_disk::serve() {
    lock_guard guard(lock_);
    unsigned n = 0;
    for (; n < at_once; n++) {
        disk_request* r = given_up_ ? nullptr : take_done();
        if (given_up_ && !r)
            r = take_any();
        if (!r)
            break;
        if (!given_up_)
            start_waiting();
        guard.unlock();
        EVENT(disk_done, .disk = trace::text(r->of->is.name), .sector = r->of->is.first + r->sector,
              .result = r->result ? 0 : -int32_t(r->result.error()));
        disk_finish(*r, r->result);
        guard.lock();
    }
    // More than is good for one interrupt: in another one, soon. A time that is over when the timer's
    // interrupt begins would be served within it, again and again.
    if (n == at_once)
        more_.set(now() + 1, fire, this);
    return n;
}

void virtio_disk::interrupt() {
    if (!device_.interrupted())
        return;
    serve();
    // It may have been for this as well, when the device cannot go on.
    bool broken = false;
    {
        lock_guard guard(lock_);
        broken = !given_up_ && device_.needs_reset();
        if (broken)
            give_up("the device asks to be reset");
    }
    if (broken)
        serve();
}

expected<disk::facts> virtio_disk::read_facts() const {
    disk::facts is{};
    is.sectors = device_.config<uint64_t>(config_capacity);
    is.block_size = device_.has(feature_blk_size) ? device_.config<uint32_t>(config_blk_size)
                                                  : uint32_t(sector_size);
    is.most_segments = most_segments;
    if (device_.has(feature_seg_max))
        is.most_segments = std::min(is.most_segments, device_.config<uint32_t>(config_seg_max));
    is.read_only = device_.has(feature_read_only);
    // A device that knows flushes keeps writes back, unless it says that it does not.
    is.write_back = device_.has(feature_flush) && (!device_.has(feature_config_wce) ||
                                                   device_.config<uint8_t>(config_write_back));
    const bool block_good = std::has_single_bit(is.block_size) && is.block_size >= sector_size &&
                            is.block_size <= page_size;
    const bool segment_good =
        is.most_segments > 0 &&
        (!device_.has(feature_size_max) || device_.config<uint32_t>(config_size_max) >= page_size);
    if (!block_good || !segment_good || is.sectors > INT64_MAX / sector_size) {
        printk(
            "virtio_blk: a disk with blocks of %u bytes and %u segments in a request is not used",
            is.block_size, is.most_segments);
        return fail(Errno::nodev);
    }
    is.sectors -= is.sectors % (is.block_size / sector_size);
    return is;
}

status virtio_disk::open(pci_function& f) {
    constexpr unsigned wanted[] = {feature_size_max, feature_seg_max, feature_read_only,
                                   feature_blk_size, feature_flush,   feature_config_wce};
    uint64_t bits = 0;
    for (unsigned bit : wanted)
        bits |= uint64_t{1} << bit;
    TRY(device_.open(f));
    TRY(device_.negotiate(bits));
    disk::facts is = TRY(read_facts());

    frames_ = static_cast<frame*>(kmem_alloc(sizeof(frame) * virtqueue::most));
    if (!frames_)
        return fail(Errno::nomem);
    TRY(device_.use_interrupts(interrupt_));
    {
        lock_guard guard(lock_);
        TRY(device_.start_queue(queue_));
        given_up_ = false;
        is.most_segments = std::min(is.most_segments, queue_.room() - 2);
        device_.start();
    }
    disk* d = TRY(disks_add(*this, is));
    name_ = d->is.name;
    printk("%s: virtio disk, %lu KiB, blocks of %u bytes%s, %s, interrupts by %s", name_,
           d->is.sectors / 2, d->is.block_size, d->is.read_only ? ", read-only" : "",
           d->is.write_back ? "write-back" : "write-through",
           device_.by_message() ? "message" : "line");
    return {};
}

} // namespace

// One that does not open stays as it is, and with it its handler, which an interrupt of the same
// line may call.
void virtio_blk_attach(pci_function& f) {
    if (!virtio_device::is(f, virtio_device::block))
        return;
    virtio_disk* d = virtio_disks.create();
    status opened = d ? d->open(f) : fail(Errno::nomem);
    if (!opened)
        printk("virtio_blk: %02x:%02x.%x is not used: %s", f.address.bus, f.address.device,
               f.address.function, errno_name(opened.error()));
}

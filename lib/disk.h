// disk: blocks that are read and written by requests; and the requests.
//
//     disk_segment page{frame->physical(), page_size};
//     disk_request r{.operation = disk_operation::read, .sector = 8, .segments = {&page, 1}};
//     disk_wait wait;
//     wait.submit(d, r);
//     status s = wait.all();
//
// A request is its maker's, and with it the list of segments and the memory that they name; from
// submit() to done() it is lent to the disk, which reads and writes that memory by itself. So nothing
// here allocates, and as many requests may be under way as there are; those that the device cannot
// take yet wait in a queue. They are answered in any order. What must come after another one is
// submitted when that is done; a flush is for the writes that were done before it was submitted.
//
// It lies in lib because vm/ writes pages to disks and reads them, and its tests bring a disk of
// their own. kernel/drivers has the real ones.
#pragma once

#include "lib/list.h"
#include "lib/lock.h"
#include "lib/no_alloc.h"
#include "lib/result.h"
#include "lib/types.h"
#include "lib/wait_queue.h"

#include <atomic>
#include <cstdint>
#include <span>

class disk;

// Part of one page of physical memory: whole blocks of the disk.
struct disk_segment {
    paddr_t start;
    uint32_t size;
};

enum class disk_operation : uint8_t { read, write, flush };

inline constexpr uint64_t sector_size = 512; // what disks are counted in, whatever their block is

struct disk_request {
    disk_operation operation;
    uint64_t sector = 0; // where it begins, from the disk's begin on
    std::span<const disk_segment> segments{};
    // Called once, with interrupts off and without locks, in an interrupt or by submit() itself: it
    // is short, takes no lock but those for handlers, and may submit others. The request is its
    // maker's again.
    void (*done)(disk_request& r) = nullptr;
    void* context = nullptr; // the maker's
    status result{};         // from done() on. EIO: the device could not, or does not work any more

    // The disk's, while it has the request.
    const disk* of = nullptr;
    list_node waiting;

    uint64_t size() const;
};

// What carries requests out.
class disk_driver {
public:
    // The request lies on the device, and is well formed. Any context; the caller holds no lock of
    // rank disk or behind it.
    NO_ALLOC virtual void start(disk_request& r) = 0;

protected:
    ~disk_driver() = default;
};

// A disk, or a partition of one: some of a device's sectors. Made at boot, and stays for good.
class disk {
public:
    struct facts {
        char name[16];           // "vda", "vda1"
        uint64_t number;         // of the device, as programs see it
        uint64_t first, sectors; // where it lies on the device
        uint32_t block_size;     // a power of two from sector_size to page_size
        uint32_t most_segments;  // in a request
        bool read_only;
        bool write_back;        // what is written may be lost until a flush
        unsigned partition = 0; // its number; 0: the whole device
    };
    disk(disk_driver& driver, const facts& is) : is(is), whole(*this), driver_(driver) {}
    disk(disk& whole, const facts& is) : is(is), whole(whole), driver_(whole.driver_) {}

    // Begins `r`. Its result is EINVAL if it is not of whole blocks or lies beyond the end, EROFS.
    NO_ALLOC void submit(disk_request& r);

    // From here until release() it is one user's: a file system's or swap's. False: it is somebody's,
    // or a partition of it is, or what it is a part of.
    bool claim();
    void release();

    const facts is;
    disk& whole;                           // the device that it is a part of; or itself
    list_node of_all CONSTANT_ONCE_SHARED; // kernel/drivers/disks.cc

private:
    status check(const disk_request& r) const;
    std::atomic<int32_t> users_{0}; // -1: it is claimed; else how many of its partitions are
    disk_driver& driver_;
};

// Ends a request, for drivers.
NO_ALLOC void disk_finish(disk_request& r, status result);

// Requests that a thread waits for, as many at once as it likes. The thread's, on its stack.
class disk_wait {
public:
    disk_wait() = default;
    disk_wait(const disk_wait&) = delete;
    ~disk_wait() { (void)all(); }

    void submit(disk& d, disk_request& r);
    // Sleeps until all of them are done; the error of one of them, if there is any. No signal ends
    // it, not even one that kills: until the device has answered, the memory is the device's.
    status all();

private:
    static void one_done(disk_request& r);

    spin_lock lock_{lock_rank::disk, "disk_wait"};
    wait_queue sleeping_ GUARDED_BY(lock_);
    uint32_t under_way_ GUARDED_BY(lock_) = 0;
    status result_ GUARDED_BY(lock_){};
};

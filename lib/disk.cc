#include "lib/disk.h"

#include "arch/cpu.h"

uint64_t disk_request::size() const {
    uint64_t bytes = 0;
    for (const disk_segment& s : segments)
        bytes += s.size;
    return bytes;
}

status disk::check(const disk_request& r) const {
    if (r.operation == disk_operation::flush)
        return r.segments.empty() ? status{} : fail(Errno::inval);
    if (r.operation == disk_operation::write && is.read_only)
        return fail(Errno::rofs);
    if (r.segments.empty() || r.segments.size() > is.most_segments)
        return fail(Errno::inval);
    const uint32_t in_block = is.block_size - 1;
    for (const disk_segment& s : r.segments)
        if (s.size == 0 || ((s.start.value() | s.size) & in_block) ||
            s.start.page_offset() + s.size > page_size)
            return fail(Errno::inval);
    const uint64_t count = r.size() / sector_size;
    if (r.sector % (is.block_size / sector_size) || r.sector > is.sectors ||
        count > is.sectors - r.sector)
        return fail(Errno::inval);
    return {};
}

void disk_finish(disk_request& r, status result) {
    r.result = result;
    cpu::interrupts_push_off();
    r.done(r);
    cpu::interrupts_pop_off();
}

void disk::submit(disk_request& r) {
    r.of = this;
    status good = check(r);
    // What is done by a device that keeps nothing back is safe already.
    if (!good || (r.operation == disk_operation::flush && !is.write_back))
        disk_finish(r, good);
    else
        driver_.start(r);
}

void disk_wait::submit(disk& d, disk_request& r) {
    {
        lock_guard guard(lock_);
        under_way_++;
    }
    r.done = one_done;
    r.context = this;
    d.submit(r);
}

// The waiter may be gone as soon as the lock is free.
void disk_wait::one_done(disk_request& r) {
    auto& w = *static_cast<disk_wait*>(r.context);
    lock_guard guard(w.lock_);
    if (!r.result)
        w.result_ = r.result;
    if (--w.under_way_ == 0)
        w.sleeping_.wake_one();
}

status disk_wait::all() {
    lock_guard guard(lock_);
    while (under_way_)
        sleeping_.wait(lock_, "disk");
    return std::exchange(result_, status{});
}

bool disk::claim() {
    int32_t parts = whole.users_.load();
    if (&whole != this)
        do {
            if (parts < 0)
                return false;
        } while (!whole.users_.compare_exchange_weak(parts, parts + 1));
    int32_t nobody = 0;
    if (users_.compare_exchange_strong(nobody, -1))
        return true;
    if (&whole != this)
        whole.users_.fetch_sub(1);
    return false;
}

void disk::release() {
    users_.store(0);
    if (&whole != this)
        whole.users_.fetch_sub(1);
}

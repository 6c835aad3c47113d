#include "kernel/fs/buffer.h"

#include "kernel/fs/file_daemons.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vm/phys/pool.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_pdaemon.h"

#include <algorithm>

namespace {

constinit pool<buffer_cache> caches{"buffer_cache"};
sleep_lock making{lock_rank::buffer_caches, "buffer caches"};
constinit list<buffer_cache, &buffer_cache::of_all> all_caches GUARDED_BY(making);

// Pieces of pages in a row on the disk, for one request.
class segment_run {
public:
    explicit segment_run(const disk& d) : most_(std::min<size_t>(d.is.most_segments, most)) {}
    // Whether [start, end) of the page, bytes, which lie at `place` on the disk, are added.
    bool add(const vm_page& page, uint64_t start, uint64_t end, uint64_t place) {
        if (count_ == most_ || (count_ && place != place_ + bytes_))
            return false;
        if (count_ == 0)
            place_ = place;
        segments_[count_++] = {page.physical() + start, uint32_t(end - start)};
        bytes_ += end - start;
        return true;
    }
    bool empty() const { return count_ == 0; }
    status transfer(disk& d, disk_operation operation) {
        disk_request r{.operation = operation,
                       .sector = place_ / sector_size,
                       .segments = {segments_, std::exchange(count_, 0)}};
        bytes_ = 0;
        disk_wait wait;
        wait.submit(d, r);
        return wait.all();
    }

private:
    static constexpr unsigned most = uvm_vnode::cluster;
    disk_segment segments_[most];
    const size_t most_;
    unsigned count_ = 0;
    uint64_t place_ = 0, bytes_ = 0;
};

// Adds a piece, and carries out what is there if it does not fit.
status add(segment_run& run, disk& d, disk_operation operation, const vm_page& page, uint64_t start,
           uint64_t end, uint64_t place) {
    if (run.add(page, start, end, place))
        return {};
    const status done = run.transfer(d, operation);
    (void)run.add(page, start, end, place);
    return done;
}

} // namespace

// ---- Buffers ---------------------------------------------------------------------------------

void buffer::dirty() {
    page_.make_dirty(uint8_t(((1u << size_ / sector_size) - 1) << offset_ / sector_size));
}

expected<buffer> buffer_cache::hold(uint64_t block, uint32_t size, uvm_pages::purpose what_for) {
    const uint64_t start = block * size;
    if (block > UINT64_MAX / size || start + size > object_->size())
        return fail(Errno::fault);
    return buffer(TRY(object_->hold_now(start, size, what_for)), uint32_t(start & page_mask), size);
}

expected<buffer> buffer_cache::get_new(uint64_t block, uint32_t size) {
    buffer b = TRY(hold(block, size, uvm_pages::purpose::replace));
    b.dirty();
    memset(b.data(), 0, size);
    return b;
}

void buffer_cache::make_room() {
    if (uvm_pdaemon::would_wait())
        (void)uvm_pdaemon::wait_for_memory();
    uvm_vnode::limit_dirty();
}

// ---- The disk behind them --------------------------------------------------------------------

expected<buffer_cache*> buffer_cache::of(disk& d) {
    lock_guard guard(making);
    for (buffer_cache& c : all_caches)
        if (&c.disk_ == &d)
            return &c;
    TRY(start_file_daemons());
    auto* made = caches.create(d);
    if (!made)
        return fail(Errno::nomem);
    auto object = uvm_vnode::create(*made, d.is.sectors * sector_size, true);
    if (!object) {
        caches.destroy(made);
        return fail(object.error());
    }
    made->object_ = std::move(*object);
    char name[32];
    format_to(name, sizeof name, "/dev/%s", d.is.name);
    made->object_->set_identity(name, 0, d.is.number);
    all_caches.push_back(*made);
    return made;
}

MAY_LOSE("what cannot be written for want of memory stays dirty, and the syncer tries again")
void buffer_cache::closed() {
    if (open_.fetch_sub(1) != 1)
        return;
    object_->give_up(); // who had it open has been told; the next one is not to hear of it again
    if (!sync())
        object_->give_up();
}

status buffer_cache::make_safe(uint64_t block, uint32_t size) {
    const uint64_t page = block * size >> page_shift;
    TRY(object_->flush_whole(page, page + 1));
    return flush(disk_);
}

status buffer_cache::flush(disk& d) {
    disk_request r{.operation = disk_operation::flush};
    disk_wait wait;
    wait.submit(d, r);
    return wait.all();
}

status buffer_cache::read_pages(uint64_t first, std::span<vm_page* const> pages) {
    const uint64_t disk_end = disk_.is.sectors * sector_size;
    segment_run run(disk_);
    status result;
    for (size_t i = 0; i < pages.size() && result; i++) {
        const uint64_t place = (first + i) << page_shift;
        const uint64_t bytes = std::min<uint64_t>(page_size, disk_end - place);
        if (bytes < page_size)
            memset(static_cast<char*>(pages[i]->data()) + bytes, 0, page_size - bytes);
        result = add(run, disk_, disk_operation::read, *pages[i], 0, bytes, place);
    }
    if (result && !run.empty())
        result = run.transfer(disk_, disk_operation::read);
    return result;
}

// Blocks of the disk may be larger than sectors: then its neighbours are written, too.
status buffer_cache::write_pages(uint64_t first, std::span<const dirty_page> pages) {
    const uint64_t disk_end = disk_.is.sectors * sector_size;
    const uint64_t block = disk_.is.block_size;
    segment_run run(disk_);
    status result;
    for (size_t i = 0; i < pages.size(); i++) {
        const uint64_t place = (first + i) << page_shift;
        const uint64_t bytes = std::min<uint64_t>(page_size, disk_end - place);
        for (uint64_t start = 0; start < bytes;) {
            auto is_dirty = [&](uint64_t at) {
                const uint32_t of_block = ((1u << block / sector_size) - 1) << at / sector_size;
                return at < bytes && (pages[i].sectors & of_block);
            };
            uint64_t end = start;
            while (is_dirty(end))
                end += block;
            if (end == start) {
                start += block;
                continue;
            }
            if (const status s = add(run, disk_, disk_operation::write, *pages[i].page, start, end,
                                     place + start);
                !s)
                result = s;
            start = end;
        }
    }
    if (!run.empty())
        if (const status s = run.transfer(disk_, disk_operation::write); !s)
            result = s;
    return result;
}

// The bytes of regular files: between the pages of a file's object and blocks of the disk.
#include "kernel/files/pages_file.h"
#include "kernel/files/permission.h"
#include "kernel/fs/device.h"
#include "kernel/fs/ext2/ext2.h"
#include "lib/long_work.h"
#include "lib/string.h"
#include "vm/phys/vm_page.h"

using namespace ext2_format;
using namespace linux_abi;

namespace {

// As page_store::dirty_page has them: the sectors of the block at byte `at` of a file.
uint8_t sectors_of_block(const ext2_volume& volume, uint64_t at) {
    return uint8_t(((1u << volume.sectors_per_block()) - 1) << (at & page_mask) / sector_size);
}

// Blocks that follow each other on the disk as they do in memory, as one request.
class transfer {
public:
    transfer(disk& d, disk_operation operation) : disk_(d), operation_(operation) {}
    // Bytes [offset, offset + size) of a page, to or from sector `sector`.
    status add(vm_page& page, uint32_t offset, uint32_t size, uint64_t sector) {
        if (count_ && sector != next_)
            TRY(go());
        if (count_ == 0)
            start_ = sector;
        disk_segment* last = count_ ? &segments_[count_ - 1] : nullptr;
        const paddr_t place(page.physical().value() + offset);
        if (last && last->start.value() + last->size == place.value() &&
            place.value() % page_size != 0)
            last->size += size;
        else
            segments_[count_++] = {place, size};
        next_ = sector + size / sector_size;
        return count_ == std::min<size_t>(std::size(segments_), disk_.is.most_segments) ? go()
                                                                                        : status{};
    }
    status go() {
        if (count_ == 0)
            return {};
        disk_request r{.operation = operation_,
                       .sector = start_,
                       .segments = {segments_, std::exchange(count_, 0)}};
        disk_wait wait;
        wait.submit(disk_, r);
        return wait.all();
    }

private:
    disk& disk_;
    const disk_operation operation_;
    disk_segment segments_[uvm_vnode::cluster];
    size_t count_ = 0;
    uint64_t start_ = 0, next_ = 0; // sectors
};

class ext2_file final : public pages_file {
public:
    using pages_file::pages_file;
    ~ext2_file() override {
        if (writable())
            node()->put_write_access();
    }
    void closed() override;

protected:
    // A write that stopped has no use for the blocks that it got past the end.
    expected<int64_t> write_from(uio& io, uint64_t offset, uint64_t& end) override {
        auto& own = static_cast<ext2_node&>(*node()); // NOLINT: it was opened by one
        const uint64_t wanted = io.remaining();
        TRY(own.end_cut());
        auto written = pages_file::write_from(io, offset, end);
        if (!written || uint64_t(*written) < wanted)
            own.trim();
        return written;
    }
};
constinit pool<ext2_file> ext2_files{"ext2_file"};

void ext2_file::closed() { ext2_files.destroy(this); }

} // namespace

// A page's part that is a hole, or lies past the end, is zeros.
status ext2_node::read_pages(uint64_t first, std::span<vm_page* const> pages) {
    const uint32_t block_size = fs().volume().block_size();
    const uint64_t size = memory_->size();
    transfer reading(fs().volume().device(), disk_operation::read);
    for (vm_page* page : pages) {
        const uint64_t start = first++ * page_size;
        for (uint32_t offset = 0; offset < page_size; offset += block_size) {
            const uint64_t at = start + offset;
            const uint32_t block = at < size ? TRY(map_.find(at / block_size)) : 0;
            if (block)
                TRY(reading.add(*page, offset, block_size,
                                uint64_t{block} * fs().volume().sectors_per_block()));
            else
                memset(static_cast<char*>(page->data()) + offset, 0, block_size);
        }
    }
    TRY(reading.go());
    const uint64_t last = size / page_size; // what lies in the last block behind the end
    if (size % page_size && last < first && last >= first - pages.size())
        memset(static_cast<char*>(pages[last - (first - pages.size())]->data()) + size % page_size,
               0, page_size - size % page_size);
    return {};
}

status ext2_node::write_pages(uint64_t first, std::span<const dirty_page> pages) {
    const uint32_t block_size = fs().volume().block_size();
    const uint32_t sectors = fs().volume().sectors_per_block();
    transfer writing(fs().volume().device(), disk_operation::write);
    for (const dirty_page& dirty : pages) {
        const uint64_t start = first++ * page_size;
        for (uint32_t offset = 0; offset < page_size; offset += block_size) {
            if (!(dirty.sectors & sectors_of_block(fs().volume(), offset)))
                continue;
            const uint32_t block = TRY(map_.find((start + offset) / block_size));
            if (block) // else it lies past the end
                TRY(writing.add(*dirty.page, offset, block_size, uint64_t{block} * sectors));
        }
    }
    return writing.go();
}

status ext2_node::make_blocks(uint64_t start, uint64_t end) {
    const uint32_t block_size = fs().volume().block_size();
    lock_guard guard(map_.lock);
    for (uint64_t i = start / block_size; i < (end + block_size - 1) / block_size; i++) {
        bool fresh;
        (void)TRY(map_.make(i, fresh));
    }
    return {};
}

// Of a file that is to be longer, to `end` at least: what was stored into its last page behind the end, or
// is on the disk there, is zeros when it is looked at, and written anew. A hole there stays one: who was
// promised its zeros would find what a new block held before, were that on the disk before the zeros.
status ext2_node::fill_last_page(uint64_t end) {
    const uint64_t size = memory_->size();
    if (end <= size || !(size & page_mask))
        return {};
    const uint64_t here = std::min(end, page_round_up(size));
    held_page last = TRY(memory_->hold_bytes(size, here - size, uvm_pages::purpose::change));
    memset(last.data() + (size & page_mask), 0, here - size);
    const uint32_t block_size = fs().volume().block_size();
    for (uint64_t at = size / block_size * block_size; at < here; at += block_size)
        if (TRY(map_.find(at / block_size)))
            last.make_dirty(sectors_of_block(fs().volume(), at));
    return {};
}

status ext2_node::allocate(uint64_t start, uint64_t end) {
    if (end > most_bytes())
        return fail(Errno::fbig);
    const write_claim claim = TRY(write_claim::on(fs()));
    auto all = [&]() -> status {
        TRY(fill_last_page(start));
        return make_blocks(start, end);
    };
    status done = all();
    if (done || done.error() != Errno::nospc)
        return done;
    fs().reap();
    fs().volume().free_waiting();
    return all();
}

status ext2_node::cut_blocks() {
    const uint32_t block_size = fs().volume().block_size();
    lock_guard guard(map_.lock);
    const status done = map_.cut((memory_->size() + block_size - 1) / block_size);
    uncut_ = !done;
    return done;
}

status ext2_node::end_cut() {
    if (!uncut_.load())
        return {};
    lock_guard guard(lock());
    return cut_blocks();
}

void ext2_node::trim() {
    lock_guard guard(lock());
    (void)cut_blocks();
}

status ext2_node::truncate(uint64_t size) {
    if (!memory_)
        return fail(is_directory() ? Errno::isdir : Errno::inval);
    TRY(may_change());
    TRY(check_file_size(size));
    if (size > most_bytes())
        return fail(Errno::fbig);
    const write_claim claim = TRY(write_claim::on(fs()));
    buffer_cache::make_room();
    {
        lock_guard guard(lock());
        const bool shorter = size < memory_->size();
        if (uncut_.load())
            TRY(cut_blocks());
        if (const status filled = fill_last_page(size); !filled) {
            memory_->trim();
            (void)cut_blocks();
            return filled;
        }
        TRY(memory_->resize(size));
        if (shorter)
            TRY(cut_blocks());
    }
    contents_changed(*this);
    return {};
}

// With the inode go all others and all names: they are in a few blocks.
status ext2_node::sync(bool) { return fs().sync_metadata(); }

expected<ref_ptr<file>> ext2_node::open(uint32_t flags) {
    const bool writes = (flags & o_accmode) != o_rdonly;
    if (writes && ((flags_ & flag_immutable) || ((flags_ & flag_append) && !(flags & o_append))))
        return fail(Errno::perm);
    switch (type()) {
    case s_ifreg: {
        auto f = ref_ptr<file>::adopt(ext2_files.create(*this, flags, memory_));
        if (!f)
            return fail(Errno::nomem);
        return f;
    }
    default: return special_file_open(*this, fifo_, flags);
    }
}

// Disks as files: /dev/vda, /dev/vda1, ...
//
// There is no cache: a read is a request to the device, and so is a write, which has been answered
// when write(2) returns. What the device itself keeps back is safe after fsync(2). The bytes go
// through pages of the kernel's, lent to the device for one request at a time, since a program's own
// may be unmapped or written to meanwhile.
#include "arch/memory.h"
#include "kernel/abi/ioctl.h"
#include "kernel/base/user_ptr.h"
#include "kernel/drivers/disks.h"
#include "kernel/files/permission.h"
#include "kernel/files/vnode_file.h"
#include "kernel/fs/device.h"
#include "lib/string.h"
#include "vm/phys/pool.h"
#include "vm/phys/vm_page.h"

#include <algorithm>

using namespace linux_abi;

namespace {

// Pages for the data of one request, and their list.
class transfer_buffer {
public:
    // For `bytes`, or for less if memory is short or no request may be as large. ENOMEM: not even a
    // page.
    status allocate(uint64_t bytes, unsigned most_pages) {
        const uint64_t wanted = std::min<uint64_t>({pages_of(bytes), most_pages, most});
        while (count_ < wanted) {
            vm_page* page = vm_page_alloc(page_owner::kernel);
            if (!page)
                break;
            pages_[count_++] = page;
        }
        return count_ ? status{} : fail(Errno::nomem);
    }
    transfer_buffer() = default;
    transfer_buffer(const transfer_buffer&) = delete;
    ~transfer_buffer() {
        for (unsigned i = 0; i < count_; i++)
            vm_page_free(pages_[i]);
    }
    uint64_t capacity() const { return count_ * page_size; }
    char* at(uint64_t offset) const {
        return static_cast<char*>(pages_[offset / page_size]->data()) + offset % page_size;
    }
    // Moves bytes between the caller and [from, until).
    status move(uio& io, uint64_t from, uint64_t until) const {
        while (from < until) {
            const uint64_t n = std::min(until - from, page_size - from % page_size);
            TRY(io.move(at(from), n));
            from += n;
        }
        return {};
    }
    // `size` bytes, from or to the disk's byte `place`, through the buffer from `offset` on: whole
    // blocks. Sleeps.
    status transfer(disk& d, disk_operation operation, uint64_t place, uint64_t offset,
                    uint64_t size) const {
        disk_segment segments[most];
        unsigned n = 0;
        for (uint64_t done = 0; done < size; n++) {
            char* start = at(offset + done);
            const uint64_t here = std::min(size - done, page_size - (offset + done) % page_size);
            segments[n] = {direct_map_address(start), uint32_t(here)};
            done += here;
        }
        disk_request r{
            .operation = operation, .sector = place / sector_size, .segments = {segments, n}};
        disk_wait wait;
        wait.submit(d, r);
        return wait.all();
    }

private:
    static constexpr unsigned most = 32;
    vm_page* pages_[most];
    unsigned count_ = 0;
};

// The blocks that [start, end) lies in, as far as a buffer reaches.
struct block_range {
    uint64_t start, end;
    block_range(const disk& d, uint64_t place, uint64_t size, uint64_t capacity) {
        const uint64_t in_block = d.is.block_size - 1;
        start = place & ~in_block;
        end = std::min((place + size + in_block) & ~in_block, start + capacity);
    }
    uint64_t size() const { return end - start; }
};

class block_file final : public vnode_file {
public:
    block_file(vnode& node, uint32_t flags, disk& d) : vnode_file(node, flags), disk_(d) {}
    void last_reference_gone() override;
    expected<int64_t> read_at(uio& io, uint64_t offset) override;
    expected<int64_t> write_at(uio& io, uint64_t offset) override {
        uint64_t end;
        return write_from(io, offset, end);
    }
    expected<int64_t> ioctl(uint64_t command, uint64_t argument) override;
    status sync() override;

protected:
    uint64_t size() override { return disk_.is.sectors * sector_size; }
    uint64_t last_position() override { return size(); }
    expected<int64_t> write_from(uio& io, uint64_t offset, uint64_t& end) override;

private:
    status read_some(uio& io, const transfer_buffer& buffer, uint64_t place);
    status write_some(uio& io, const transfer_buffer& buffer, uint64_t place);
    status complete_blocks(const transfer_buffer& buffer, const block_range& range, uint64_t from,
                           uint64_t until);

    disk& disk_;
};
constinit pool<block_file> block_files{"block_file"};

void block_file::last_reference_gone() { block_files.destroy(this); }

status block_file::read_some(uio& io, const transfer_buffer& buffer, uint64_t place) {
    const block_range range(disk_, place, io.remaining(), buffer.capacity());
    TRY(buffer.transfer(disk_, disk_operation::read, range.start, 0, range.size()));
    const uint64_t from = place - range.start;
    return buffer.move(io, from, std::min(range.size(), from + io.remaining()));
}

expected<int64_t> block_file::read_at(uio& io, uint64_t offset) {
    if (offset >= size())
        return 0;
    io.limit(size() - offset);
    transfer_buffer buffer;
    if (io.remaining())
        TRY(buffer.allocate(io.remaining() + offset % disk_.is.block_size, disk_.is.most_segments));
    status done;
    while (io.remaining() && done)
        done = read_some(io, buffer, offset + io.moved());
    return io.result(done);
}

// The rest of the first and the last block, of which the caller gives a part. What is there is read
// over the caller's bytes, which are kept aside meanwhile.
status block_file::complete_blocks(const transfer_buffer& buffer, const block_range& range,
                                   uint64_t from, uint64_t until) {
    const uint64_t block = disk_.is.block_size, last = range.size() - block;
    transfer_buffer aside;
    TRY(aside.allocate(block, 1));
    if (from > 0) {
        TRY(aside.transfer(disk_, disk_operation::read, range.start, 0, block));
        memcpy(buffer.at(0), aside.at(0), from);
    }
    if (until < range.size()) {
        TRY(aside.transfer(disk_, disk_operation::read, range.start + last, 0, block));
        memcpy(buffer.at(until), aside.at(until - last), range.size() - until);
    }
    return {};
}

// The caller's bytes are taken before the lock is: his memory may have to be brought in.
status block_file::write_some(uio& io, const transfer_buffer& buffer, uint64_t place) {
    const uint64_t before = io.moved();
    const block_range most(disk_, place, io.remaining(), buffer.capacity());
    const uint64_t from = place - most.start;
    const status taken = buffer.move(io, from, std::min(most.size(), from + io.remaining()));
    const uint64_t bytes = io.moved() - before;
    if (bytes == 0)
        return taken;
    const block_range range(disk_, place, bytes, buffer.capacity());
    const uint64_t until = from + bytes;
    auto write = [&] {
        return buffer.transfer(disk_, disk_operation::write, range.start, 0, range.size());
    };
    status written;
    if (from == 0 && until == range.size()) {
        read_guard guard(disk_.whole.blocks);
        written = write();
    } else {
        lock_guard guard(disk_.whole.blocks);
        written = complete_blocks(buffer, range, from, until);
        if (written)
            written = write();
    }
    if (written)
        return taken;
    io.retract(bytes);
    return written;
}

expected<int64_t> block_file::write_from(uio& io, uint64_t offset, uint64_t& end) {
    if (disk_.is.read_only)
        return fail(Errno::perm);
    end = offset;
    if (io.remaining() == 0)
        return 0;
    if (offset >= size())
        return fail(Errno::nospc);
    io.limit(size() - offset);
    transfer_buffer buffer;
    TRY(buffer.allocate(io.remaining() + offset % disk_.is.block_size, disk_.is.most_segments));
    status done;
    while (io.remaining() && done)
        done = write_some(io, buffer, offset + io.moved());
    if (done && (flags() & o_dsync))
        done = sync();
    if (!done && (flags() & o_dsync)) // none of it is known to be safe
        return fail(done.error());
    end = offset + io.moved();
    return io.result(done);
}

status block_file::sync() {
    disk_request r{.operation = disk_operation::flush};
    disk_wait wait;
    wait.submit(disk_, r);
    return wait.all();
}

expected<int64_t> block_file::ioctl(uint64_t command, uint64_t argument) {
    switch (command) {
    case blkroget: TRY(user_ptr<int32_t>(argument).write(disk_.is.read_only)); return 0;
    case blkgetsize: TRY(user_ptr<uint64_t>(argument).write(disk_.is.sectors)); return 0;
    case blkgetsize64: TRY(user_ptr<uint64_t>(argument).write(size())); return 0;
    case blksszget:
    case blkpbszget: TRY(user_ptr<uint32_t>(argument).write(disk_.is.block_size)); return 0;
    case blkflsbuf:
        if (!is_superuser())
            return fail(Errno::acces);
        TRY(sync());
        return 0;
    default: return fail(Errno::notty);
    }
}

} // namespace

expected<ref_ptr<file>> block_device_open(vnode& node, uint32_t flags) {
    disk* d = disk_of(node.device());
    if (!d)
        return fail(Errno::nxio);
    auto f = ref_ptr<file>::adopt(block_files.create(node, flags, *d));
    if (!f)
        return fail(Errno::nomem);
    return f;
}

// Disks as files: /dev/vda, /dev/vda1, ...
//
// What is read and written through them are the pages of the disk's cache (kernel/fs/buffer.h), which a
// file system that is mounted from the disk has its metadata in, too. A disk and its partitions have
// caches of their own, as on Linux: what one shows of what was written through the other is what was on
// the disk when it looked.
#include "kernel/abi/ioctl.h"
#include "kernel/base/user_ptr.h"
#include "kernel/drivers/disks.h"
#include "kernel/files/pages_file.h"
#include "kernel/files/permission.h"
#include "kernel/fs/buffer.h"
#include "kernel/fs/device.h"
#include "vm/phys/pool.h"

using namespace linux_abi;

namespace {

class block_file final : public pages_file {
public:
    block_file(vnode& node, uint32_t flags, buffer_cache& cache)
        : pages_file(node, flags, cache.object()), cache_(cache) {
        cache_.opened();
    }
    ~block_file() override { cache_.closed(); }
    void closed() override;
    expected<int64_t> ioctl(uint64_t command, uint64_t argument) override;
    status truncate(uint64_t) override { return fail(Errno::inval); }
    status allocate(uint64_t, uint64_t, bool) override { return fail(Errno::opnotsupp); }
    status punch(uint64_t, uint64_t) override { return fail(Errno::opnotsupp); }
    expected<ref_ptr<uvm_object>> mmap_object() override {
        return ref_ptr<uvm_object>(cache_.object());
    }
    status limit_sharing(vm_prot prot, vm_prot& most) override;
    void stored() override { node()->touch_modified(); }

protected:
    uint64_t last_position() override { return size(); }
    expected<int64_t> write_from(uio& io, uint64_t offset, uint64_t& end) override;
    status sync_rest(bool) override { return buffer_cache::flush(cache_.of()); }

private:
    const disk& device() const { return cache_.of(); }

    buffer_cache& cache_;
};
constinit pool<block_file> block_files{"block_file"};

void block_file::closed() { block_files.destroy(this); }

expected<int64_t> block_file::write_from(uio& io, uint64_t offset, uint64_t& end) {
    if (device().is.read_only)
        return fail(Errno::perm);
    end = offset;
    if (io.remaining() == 0)
        return 0;
    if (offset >= size())
        return fail(Errno::nospc);
    io.limit(size() - offset);
    const status done = write_pages(io, offset);
    if (io.moved() && (flags() & o_dsync))
        TRY(sync(true)); // none of it is known to be safe if that fails
    end = offset + io.moved();
    return io.result(done);
}

status block_file::limit_sharing(vm_prot prot, vm_prot& most) {
    if (!device().is.read_only)
        return {};
    if (allows(prot, vm_prot::write))
        return fail(Errno::acces);
    most = most & ~vm_prot::write;
    return {};
}

expected<int64_t> block_file::ioctl(uint64_t command, uint64_t argument) {
    const disk::facts& is = device().is;
    switch (command) {
    case blkroget: TRY(user_ptr<int32_t>(argument).write(is.read_only)); return 0;
    case blkgetsize: TRY(user_ptr<uint64_t>(argument).write(is.sectors)); return 0;
    case blkgetsize64: TRY(user_ptr<uint64_t>(argument).write(size())); return 0;
    case blksszget:
    case blkpbszget: TRY(user_ptr<uint32_t>(argument).write(is.block_size)); return 0;
    case blkflsbuf:
        if (!is_superuser())
            return fail(Errno::acces);
        TRY(sync(true));
        TRY(pages().advise(0, UINT64_MAX, file_advice::dont_need));
        return 0;
    default: return fail(Errno::notty);
    }
}

} // namespace

expected<ref_ptr<file>> block_device_open(vnode& node, uint32_t flags) {
    disk* d = disk_of(node.device());
    if (!d)
        return fail(Errno::nxio);
    if (flags & o_direct)
        return fail(Errno::inval);
    buffer_cache* cache = TRY(buffer_cache::of(*d));
    auto f = ref_ptr<file>::adopt(block_files.create(node, flags, *cache));
    if (!f)
        return fail(Errno::nomem);
    return f;
}

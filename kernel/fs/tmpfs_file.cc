// Opening the files of tmpfs, and what seals forbid.
#include "kernel/files/pages_file.h"
#include "kernel/files/permission.h"
#include "kernel/fs/device.h"
#include "kernel/fs/tmpfs.h"
#include "vm/phys/pool.h"

using namespace linux_abi;

namespace {

class memory_file final : public pages_file {
public:
    using pages_file::pages_file;
    ~memory_file() override {
        if (writable())
            node()->put_write_access();
    }
    void closed() override;

    expected<int64_t> seals() override { return memory_node().seals(); }
    status add_seals(uint32_t more) override { return memory_node().add_seals(more); }
    status limit_sharing(vm_prot prot, vm_prot& most) override;

protected:
    status may_write(uio& io, uint64_t offset) override;
    status may_punch() override;
    status may_grow() override;

private:
    tmpfs_node& memory_node() { return *node()->as_tmpfs(); }
};

constinit pool<memory_file> memory_files{"memory_file"};

void memory_file::closed() { memory_files.destroy(this); }

status memory_file::may_write(uio& io, uint64_t offset) {
    TRY(may_punch());
    if (memory_node().sealed(tmpfs_node::no_growing) && offset + io.remaining() > size()) {
        // As Linux, whole pages before the one that would make it longer.
        if (offset >= page_round_down(size()))
            return fail(Errno::perm);
        io.limit(page_round_down(size()) - offset);
    }
    return {};
}

status memory_file::may_punch() {
    const bool sealed = memory_node().sealed(tmpfs_node::no_writing | tmpfs_node::no_new_writing);
    return sealed ? fail(Errno::perm) : status{};
}

status memory_file::may_grow() {
    return memory_node().sealed(tmpfs_node::no_growing) ? fail(Errno::perm) : status{};
}

status memory_file::limit_sharing(vm_prot prot, vm_prot& most) {
    if (may_punch())
        return {};
    if (allows(prot, vm_prot::write))
        return fail(Errno::perm);
    most = most & ~vm_prot::write;
    return {};
}

} // namespace

status tmpfs_node::truncate(uint64_t size) {
    if (!memory_)
        return fail(is_directory() ? Errno::isdir : Errno::inval);
    TRY(check_file_size(size));
    {
        lock_guard guard(lock());
        const uint64_t old_size = memory_->size();
        if ((size < old_size && sealed(no_shrinking)) || (size > old_size && sealed(no_growing)))
            return fail(Errno::perm);
        TRY(memory_->resize(size));
    }
    contents_changed(*this);
    return {};
}

status tmpfs_node::add_seals(uint32_t more) {
    if (more & ~uint32_t(all_seals))
        return fail(Errno::inval);
    lock_guard guard(lock());
    if (sealed(no_more_seals))
        return fail(Errno::perm);
    if (more & no_writing)
        TRY(memory_->forbid_storing());
    seals_.fetch_or(more);
    return {};
}

expected<ref_ptr<file>> tmpfs_node::open(uint32_t flags) {
    switch (type()) {
    case s_ifreg: {
        auto f = ref_ptr<file>::adopt(memory_files.create(*this, flags, memory_));
        if (!f)
            return fail(Errno::nomem);
        return f;
    }
    default: return special_file_open(*this, fifo_, flags);
    }
}

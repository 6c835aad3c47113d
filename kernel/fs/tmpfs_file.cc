// Reading, writing and mapping the regular files of tmpfs.
//
// The bytes are copied between the program and a page that is held, not locked: the copy may fault,
// and the fault may need the very object that the page belongs to, when the program passes a
// mapping of the file as the buffer. Writers of one file take turns by vnode::lock(), which faults
// never take.
#include "kernel/base/user_ptr.h"
#include "kernel/files/permission.h"
#include "kernel/files/pipe.h"
#include "kernel/files/vfs.h"
#include "kernel/files/vnode_file.h"
#include "kernel/fs/device.h"
#include "kernel/fs/tmpfs.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "kernel/signal/signal.h"
#include "vm/phys/pool.h"
#include "vm/uvm_aobj.h"

#include <algorithm>

using namespace linux_abi;

namespace {

// What a file may be at most: positions are signed.
constexpr uint64_t largest_file = INT64_MAX & ~uint64_t{page_mask};

class memory_file final : public vnode_file {
public:
    memory_file(vnode& node, uint32_t flags, ref_ptr<uvm_aobj> memory)
        : vnode_file(node, flags), memory_(std::move(memory)) {}
    ~memory_file() override {
        if (writable())
            node()->put_write_access();
    }
    void last_reference_gone() override;

    expected<int64_t> read_at(uio& io, uint64_t offset) override;
    expected<int64_t> write_at(uio& io, uint64_t offset) override;
    expected<int64_t> ioctl(uint64_t command, uint64_t argument) override;
    status truncate(uint64_t size) override { return node()->truncate(size); }
    status allocate(uint64_t offset, uint64_t size, bool keep_size) override;
    status punch(uint64_t offset, uint64_t size) override;
    expected<int64_t> seals() override { return memory_node().seals(); }
    status add_seals(uint32_t more) override { return memory_node().add_seals(more); }
    expected<ref_ptr<uvm_object>> mmap_object() override;
    status limit_sharing(vm_prot prot, vm_prot& most) override;
    void stored() override;

protected:
    uint64_t size() override { return memory_->size(); }
    uint64_t next_data(uint64_t offset) override {
        return memory_->next(uvm_aobj::contents::data, offset);
    }
    uint64_t next_hole(uint64_t offset) override {
        return memory_->next(uvm_aobj::contents::hole, offset);
    }
    expected<int64_t> write_from(uio& io, uint64_t offset, uint64_t& end) override;

private:
    tmpfs_node& memory_node() { return *node()->as_tmpfs(); }
    // The page-wise copy. The file is as long as what has been copied needs, whenever it is looked
    // at.
    status write_pages(uio& io, uint64_t offset);

    const ref_ptr<uvm_aobj> memory_;
};

constinit pool<memory_file> memory_files{"memory_file"};

void memory_file::last_reference_gone() { memory_files.destroy(this); }

expected<int64_t> memory_file::read_at(uio& io, uint64_t offset) {
    uint64_t size = memory_->size();
    if (offset >= size || io.remaining() == 0)
        return 0;
    io.limit(size - offset);
    status copied;
    while (io.remaining() && copied) {
        uint64_t in_page = offset & page_mask;
        uint64_t n = std::min<uint64_t>(io.remaining(), page_size - in_page);
        auto page = memory_->hold(offset >> page_shift, uvm_aobj::purpose::read);
        if (!page) {
            // Cut off meanwhile: the file ends here.
            if (page.error() != Errno::fault)
                copied = fail(page.error());
            break;
        }
        copied = *page ? io.move(page->data() + in_page, n) : io.move_zeros(n);
        offset += n;
        // What was cut off meanwhile may have been copied as zeros: that does not count.
        if (uint64_t now = memory_->size(); now < offset && copied) {
            io.retract(offset - std::max(now, offset - n));
            break;
        }
    }
    if (!(flags() & o_noatime))
        node()->touch_accessed();
    return io.result(copied);
}

status memory_file::write_pages(uio& io, uint64_t offset) {
    status copied;
    while (io.remaining() && copied) {
        uint64_t in_page = offset & page_mask, before = io.moved();
        uint64_t n = std::min<uint64_t>(io.remaining(), page_size - in_page);
        held_page page = TRY(memory_->hold(offset >> page_shift, uvm_aobj::purpose::extend));
        copied = io.move(page.data() + in_page, n);
        offset += io.moved() - before;
        if (io.moved() > before && offset > memory_->size())
            memory_->grow(offset);
    }
    return copied;
}

expected<int64_t> memory_file::write_from(uio& io, uint64_t offset, uint64_t& end) {
    if (io.remaining() == 0)
        return 0;
    uint64_t file_limit = process_limit(rlimit_fsize);
    lock_guard guard(node()->lock());
    uint64_t old_size = memory_->size();
    if (flags() & o_append)
        offset = old_size;
    if (offset >= file_limit) {
        signal_send_thread(current_thread(), sigxfsz, nullptr);
        return fail(Errno::fbig);
    }
    if (offset >= largest_file)
        return fail(Errno::fbig);
    io.limit(std::min(file_limit, largest_file) - offset);
    if (memory_node().sealed(tmpfs_node::no_writing | tmpfs_node::no_new_writing))
        return fail(Errno::perm);
    if (memory_node().sealed(tmpfs_node::no_growing) && offset + io.remaining() > old_size) {
        // As Linux, whole pages before the one that would make it longer.
        if (offset >= page_round_down(old_size))
            return fail(Errno::perm);
        io.limit(page_round_down(old_size) - offset);
    }
    status copied = write_pages(io, offset);
    uint64_t reached = offset + io.moved();
    if (!copied)
        memory_->trim();
    if (io.moved()) {
        contents_changed(*node());
        end = reached;
    }
    return io.result(copied);
}

expected<int64_t> memory_file::write_at(uio& io, uint64_t offset) {
    uint64_t end;
    return write_from(io, offset, end);
}

expected<int64_t> memory_file::ioctl(uint64_t command, uint64_t argument) {
    if (command != fionread)
        return fail(Errno::notty);
    uint64_t at = uint64_t(TRY(seek(0, seek_cur))), end = size();
    TRY(user_ptr<int32_t>(argument).write(
        at < end ? int32_t(std::min<uint64_t>(end - at, INT32_MAX)) : 0));
    return 0;
}

status memory_file::allocate(uint64_t offset, uint64_t size, bool keep_size) {
    lock_guard guard(node()->lock());
    uint64_t old_size = memory_->size(), end = offset + size;
    if (end > largest_file)
        return fail(Errno::fbig);
    if (end > process_limit(rlimit_fsize)) {
        signal_send_thread(current_thread(), sigxfsz, nullptr);
        return fail(Errno::fbig);
    }
    if (end > old_size && memory_node().sealed(tmpfs_node::no_growing))
        return fail(Errno::perm);
    TRY(memory_->allocate(offset >> page_shift, pages_of(end)));
    if (!keep_size)
        memory_->grow(end);
    contents_changed(*node());
    return {};
}

status memory_file::punch(uint64_t offset, uint64_t size) {
    lock_guard guard(node()->lock());
    if (memory_node().sealed(tmpfs_node::no_writing | tmpfs_node::no_new_writing))
        return fail(Errno::perm);
    TRY(memory_->punch(offset, offset + size));
    contents_changed(*node());
    return {};
}

expected<ref_ptr<uvm_object>> memory_file::mmap_object() {
    vfs_name_memory(*node());
    node()->touch_accessed();
    return ref_ptr<uvm_object>(memory_);
}

status memory_file::limit_sharing(vm_prot prot, vm_prot& most) {
    if (!memory_node().sealed(tmpfs_node::no_writing | tmpfs_node::no_new_writing))
        return {};
    if (allows(prot, vm_prot::write))
        return fail(Errno::perm);
    most = most & ~vm_prot::write;
    return {};
}

void memory_file::stored() { contents_changed(*node()); }

} // namespace

status tmpfs_node::truncate(uint64_t size) {
    if (!memory_)
        return fail(is_directory() ? Errno::isdir : Errno::inval);
    if (size > largest_file)
        return fail(Errno::fbig);
    if (size > process_limit(rlimit_fsize)) {
        signal_send_thread(current_thread(), sigxfsz, nullptr);
        return fail(Errno::fbig);
    }
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
    case s_ifdir: return directory_open(*this, flags);
    case s_ififo: {
        ref_ptr<pipe_channel> channel;
        {
            lock_guard guard(lock());
            if (!fifo_)
                fifo_ = TRY(pipe_channel::create());
            channel = fifo_;
        }
        return pipe_open(*this, std::move(channel), flags);
    }
    case s_ifchr: return character_device_open(*this, flags);
    case s_ifblk: return block_device_open(*this, flags);
    default: return fail(Errno::nxio); // sockets: nobody listens
    }
}

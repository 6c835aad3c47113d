#include "kernel/files/vnode_file.h"

#include "kernel/files/permission.h"
#include "vm/phys/pool.h"
#include "vm/uvm_object.h"

using namespace linux_abi;

expected<int64_t> vnode_file::read(uio& io) {
    lock_guard guard(position_lock_);
    int64_t n = TRY(read_at(io, position_));
    position_ += uint64_t(n);
    return n;
}

expected<int64_t> vnode_file::write(uio& io) {
    lock_guard guard(position_lock_);
    uint64_t end = position_;
    int64_t n = TRY(write_from(io, position_, end));
    position_ = end;
    return n;
}

expected<int64_t> vnode_file::seek(int64_t offset, int whence) {
    lock_guard guard(position_lock_);
    int64_t base;
    switch (whence) {
    case seek_set: base = 0; break;
    case seek_cur: base = int64_t(position_); break;
    case seek_end: base = int64_t(size()); break;
    case seek_data:
    case seek_hole: {
        uint64_t end = size();
        if (offset < 0 || uint64_t(offset) >= end)
            return fail(Errno::nxio);
        base = int64_t(whence == seek_data ? next_data(uint64_t(offset))
                                           : next_hole(uint64_t(offset)));
        if (whence == seek_data && base >= int64_t(end))
            return fail(Errno::nxio);
        offset = 0;
        break;
    }
    default: return fail(Errno::inval);
    }
    int64_t position;
    if (__builtin_add_overflow(base, offset, &position))
        return fail(Errno::inval);
    if (position < 0 || uint64_t(position) > last_position())
        return fail(Errno::inval);
    position_ = uint64_t(position);
    return position;
}

bool vnode_file::may_put_out() { return is_owner(*node()) || check_access(*node(), may_write); }

expected<int64_t> vnode_file::read_directory(dir_sink& sink) {
    lock_guard guard(position_lock_);
    uint64_t position = position_;
    TRY(node()->read_directory(position, sink));
    TRY(sink.finish());
    position_ = position;
    return 0;
}

namespace {

class directory_file final : public vnode_file {
public:
    using vnode_file::vnode_file;
    void closed() override;
    expected<int64_t> read(uio&) override { return fail(Errno::isdir); }
    expected<int64_t> read_at(uio&, uint64_t) override { return fail(Errno::isdir); }
};
constinit pool<directory_file> directory_files{"directory_file"};

void directory_file::closed() { directory_files.destroy(this); }

class path_file final : public vnode_file {
public:
    using vnode_file::vnode_file;
    void closed() override;
    expected<int64_t> seek(int64_t, int) override { return fail(Errno::badf); }
    expected<int64_t> ioctl(uint64_t, uint64_t) override { return fail(Errno::badf); }
    expected<int64_t> read_directory(dir_sink&) override { return fail(Errno::badf); }
    status truncate(uint64_t) override { return fail(Errno::badf); }
    status sync(bool) override { return fail(Errno::badf); }
    status write_back(uint64_t, uint64_t) override { return fail(Errno::badf); }
    uint32_t poll(poller*) override { return pollnval; }
    expected<ref_ptr<uvm_object>> mmap_object() override { return fail(Errno::badf); }
};
constinit pool<path_file> path_files{"path_file"};

void path_file::closed() { path_files.destroy(this); }

} // namespace

expected<ref_ptr<file>> directory_open(vnode& node, uint32_t flags) {
    auto f = ref_ptr<file>::adopt(directory_files.create(node, flags));
    if (!f)
        return fail(Errno::nomem);
    return f;
}

expected<ref_ptr<file>> path_file_open(vnode& node, uint32_t flags) {
    auto f = ref_ptr<file>::adopt(path_files.create(node, flags));
    if (!f)
        return fail(Errno::nomem);
    return f;
}

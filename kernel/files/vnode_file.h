// The file description of a vnode that has a position: what regular files and directories share.
#pragma once

#include "kernel/abi/files.h"
#include "kernel/files/file.h"
#include "kernel/files/vnode.h"

class vnode_file : public file {
public:
    using file::file;
    bool has_places() const override { return true; }
    // read() and write() at the position are read_at() and write_at() at it. With O_APPEND,
    // write_at() chooses the place itself; end_of_write() says where it ended.
    expected<int64_t> read(uio& io) override;
    expected<int64_t> write(uio& io) override;
    expected<int64_t> seek(int64_t offset, int whence) override;
    expected<int64_t> read_directory(dir_sink& sink) override;
    status sync(bool only_data) override { return node()->sync(only_data); }
    status write_back(uint64_t, uint64_t) override { return {}; }
    // As on Linux: who owns the file, or may write to it.
    bool may_put_out() override;

protected:
    virtual uint64_t size() { return node()->attributes().size; }
    // The greatest position that lseek sets.
    virtual uint64_t last_position() { return INT64_MAX; }
    // SEEK_DATA and SEEK_HOLE: where the next of them is, from `offset` on, which lies before the
    // end. For one who does not know, all is data, as lseek(2) allows.
    virtual uint64_t next_data(uint64_t offset) { return offset; }
    virtual uint64_t next_hole(uint64_t offset) {
        (void)offset;
        return size();
    }
    // As write_at(), and tells the position behind the last byte.
    virtual expected<int64_t> write_from(uio& io, uint64_t offset, uint64_t& end) {
        (void)io;
        (void)offset;
        (void)end;
        return fail(Errno::inval);
    }

private:
    sleep_lock position_lock_{lock_rank::file_position, "file position"};
    uint64_t position_ GUARDED_BY(position_lock_) = 0;
};

// A directory that is open.
expected<ref_ptr<file>> directory_open(vnode& node, uint32_t flags);
// What O_PATH gives: a place in the name space, nothing to read or write.
expected<ref_ptr<file>> path_file_open(vnode& node, uint32_t flags);

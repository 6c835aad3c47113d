// pages_file: a file whose contents are pages, in memory alone or of a disk: what tmpfs and file systems
// on disks have in common when a file of theirs is open.
//
// The bytes are copied between the program and a page that is held, not locked: the copy may fault,
// and the fault may need the very object that the page belongs to, when the program passes a
// mapping of the file as the buffer. Writers of one file take turns by vnode::lock(), which faults
// never take.
#pragma once

#include "kernel/files/vnode_file.h"
#include "vm/uvm_pages.h"

// What a file may be at most: positions are signed.
inline constexpr uint64_t largest_file = INT64_MAX & ~uint64_t{page_mask};

// Whether the caller may make a file so long: EFBIG, and a signal if it is his limit.
status check_file_size(uint64_t size);

class pages_file : public vnode_file {
public:
    pages_file(vnode& node, uint32_t flags, ref_ptr<uvm_pages> pages)
        : vnode_file(node, flags), pages_(std::move(pages)), errors_(pages_->seen_errors()) {}

    expected<int64_t> read_at(uio& io, uint64_t offset) override;
    expected<int64_t> write_at(uio& io, uint64_t offset) override;
    expected<int64_t> ioctl(uint64_t command, uint64_t argument) override;
    status truncate(uint64_t size) override { return node()->truncate(size); }
    status allocate(uint64_t offset, uint64_t size, bool keep_size) override;
    status punch(uint64_t offset, uint64_t size) override;
    expected<ref_ptr<uvm_object>> mmap_object() override;
    void stored() override;
    status sync(bool only_data) override;
    status synced(status put) override;
    status write_back(uint64_t start, uint64_t end) override;
    status advise(uint64_t start, uint64_t end, int advice) override;

protected:
    uint64_t size() override { return pages_->size(); }
    uint64_t next_data(uint64_t offset) override {
        return pages_->next(uvm_pages::contents::data, offset);
    }
    uint64_t next_hole(uint64_t offset) override {
        return pages_->next(uvm_pages::contents::hole, offset);
    }
    // What is written to a file that is opened so is safe before the call returns.
    expected<int64_t> write_from(uio& io, uint64_t offset, uint64_t& end) override;
    // Of a file: what forbids to write, to make it longer, and how far one may write from `offset` on
    // (io.limit()). EPERM. The node is locked.
    virtual status may_write(uio& io, uint64_t offset) {
        (void)io;
        (void)offset;
        return {};
    }
    virtual status may_punch() { return {}; }
    // What fsync promises besides the pages, which have been written.
    virtual status sync_rest(bool only_data) { return node()->sync(only_data); }
    virtual status may_grow() { return {}; }
    // The page-wise copy. The file is as long as what has been copied needs, whenever it is looked
    // at.
    status write_pages(uio& io, uint64_t offset);
    uvm_pages& pages() const { return *pages_; }

private:
    status tell_errors(status written, bool only_data);
    expected<int64_t> write_locked(uio& io, uint64_t offset, uint64_t& end);

    const ref_ptr<uvm_pages> pages_;
    std::atomic<uint32_t> errors_; // of writes, that it has heard of
};

#include "kernel/files/pages_file.h"

#include "kernel/abi/ioctl.h"
#include "kernel/base/user_ptr.h"
#include "kernel/files/permission.h"
#include "kernel/files/vfs.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "kernel/signal/signal.h"

#include <algorithm>

using namespace linux_abi;

status check_file_size(uint64_t size) {
    if (size > largest_file)
        return fail(Errno::fbig);
    if (size > process_limit(rlimit_fsize)) {
        signal_send_thread(current_thread(), sigxfsz, nullptr);
        return fail(Errno::fbig);
    }
    return {};
}

expected<int64_t> pages_file::read_at(uio& io, uint64_t offset) {
    uint64_t size = pages_->size();
    if (offset >= size || io.remaining() == 0)
        return 0;
    io.limit(size - offset);
    status copied;
    while (io.remaining() && copied) {
        uint64_t in_page = offset & page_mask;
        uint64_t n = std::min<uint64_t>(io.remaining(), page_size - in_page);
        auto page = pages_->hold_bytes(offset, n, uvm_pages::purpose::read);
        if (!page) {
            // Cut off meanwhile: the file ends here.
            if (page.error() != Errno::fault)
                copied = fail(page.error());
            break;
        }
        copied = *page ? io.move(page->data() + in_page, n) : io.move_zeros(n);
        offset += n;
        // What was cut off meanwhile may have been copied as zeros: that does not count.
        if (uint64_t now = pages_->size(); now < offset && copied) {
            io.retract(offset - std::max(now, offset - n));
            break;
        }
    }
    if (!(flags() & o_noatime))
        node()->touch_accessed();
    return io.result(copied);
}

status pages_file::write_pages(uio& io, uint64_t offset) {
    status copied;
    while (io.remaining() && copied) {
        uint64_t in_page = offset & page_mask, before = io.moved();
        uint64_t n = std::min<uint64_t>(io.remaining(), page_size - in_page);
        pages_->before_write();
        held_page page = TRY(pages_->hold_bytes(offset, n, uvm_pages::purpose::extend));
        copied = io.move(page.data() + in_page, n);
        offset += io.moved() - before;
        if (io.moved() > before && offset > pages_->size())
            pages_->grow(offset);
    }
    return copied;
}

expected<int64_t> pages_file::write_locked(uio& io, uint64_t offset, uint64_t& end) {
    uint64_t file_limit = process_limit(rlimit_fsize);
    lock_guard guard(node()->lock());
    if (flags() & o_append)
        offset = pages_->size();
    if (offset >= file_limit)
        return fail(check_file_size(offset + 1).error());
    if (offset >= largest_file)
        return fail(Errno::fbig);
    io.limit(std::min(file_limit, largest_file) - offset);
    TRY(may_write(io, offset));
    status copied = write_pages(io, offset);
    uint64_t reached = offset + io.moved();
    if (!copied)
        pages_->trim();
    if (io.moved()) {
        contents_changed(*node());
        end = reached;
    }
    return io.result(copied);
}

expected<int64_t> pages_file::write_from(uio& io, uint64_t offset, uint64_t& end) {
    if (io.remaining() == 0)
        return 0;
    const int64_t written = TRY(write_locked(io, offset, end));
    if (flags() & o_dsync)
        TRY(sync(!(flags() & o_sync)));
    return written;
}

expected<int64_t> pages_file::write_at(uio& io, uint64_t offset) {
    uint64_t end;
    return write_from(io, offset, end);
}

expected<int64_t> pages_file::ioctl(uint64_t command, uint64_t argument) {
    if (command != fionread)
        return fail(Errno::notty);
    uint64_t at = uint64_t(TRY(seek(0, seek_cur))), end = size();
    TRY(user_ptr<int32_t>(argument).write(
        at < end ? int32_t(std::min<uint64_t>(end - at, INT32_MAX)) : 0));
    return 0;
}

status pages_file::allocate(uint64_t offset, uint64_t size, bool keep_size) {
    lock_guard guard(node()->lock());
    const uint64_t end = offset + size;
    TRY(check_file_size(end));
    if (end > pages_->size())
        TRY(may_grow());
    TRY(pages_->allocate(offset >> page_shift, pages_of(end)));
    if (!keep_size)
        pages_->grow(end);
    contents_changed(*node());
    return {};
}

status pages_file::punch(uint64_t offset, uint64_t size) {
    lock_guard guard(node()->lock());
    TRY(may_punch());
    TRY(pages_->punch(offset, offset + size));
    contents_changed(*node());
    return {};
}

expected<ref_ptr<uvm_object>> pages_file::mmap_object() {
    vfs_name_memory(*node());
    node()->touch_accessed();
    return ref_ptr<uvm_object>(pages_);
}

void pages_file::stored() { contents_changed(*node()); }

// What could not be written is told by the count of errors, once.
status pages_file::tell_errors(status written, bool only_data) {
    if (written || written.error() == Errno::io)
        written = sync_rest(only_data);
    const status told = pages_->check_errors(errors_);
    return told ? written : told;
}

status pages_file::sync(bool only_data) {
    return tell_errors(pages_->flush(0, UINT64_MAX), only_data);
}

status pages_file::synced(status put) { return tell_errors(std::move(put), true); }

status pages_file::write_back(uint64_t start, uint64_t end) {
    (void)pages_->flush(start >> page_shift, pages_of(end));
    return pages_->check_errors(errors_);
}

status pages_file::advise(uint64_t start, uint64_t end, int advice) {
    return pages_->advise(start >> page_shift, pages_of(end), file_advice(advice));
}

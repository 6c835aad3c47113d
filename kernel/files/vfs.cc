#include "kernel/files/vfs.h"

#include "kernel/abi/files.h"
#include "kernel/files/file.h"
#include "kernel/files/lookup.h"
#include "kernel/files/permission.h"
#include "kernel/process/thread.h"
#include "lib/string.h"
#include "vm/phys/pool.h"
#include "vm/uvm_pages.h"

#include <algorithm>

using namespace linux_abi;

// ---- Paths of vnodes -------------------------------------------------------------------------

expected<size_t> vfs_path_of(vnode& node, char* out, size_t size) {
    if (size == 0)
        return fail(Errno::range);
    // From the end backwards, name by name.
    char* const end = out + size;
    char* at = end;
    *--at = '\0';
    ref_ptr<vnode> root = root_directory(), here(&node);
    char name[name_max + 1];
    while (here.get() != root.get()) {
        if (ref_ptr<vnode> covered = covered_by(*here)) {
            here = std::move(covered);
            continue;
        }
        here = TRY(here->name_in_parent(name));
        size_t length = strlen(name);
        if (size_t(at - out) < length + 1)
            return fail(Errno::range);
        at -= length;
        memcpy(at, name, length);
        *--at = '/';
    }
    if (!*at) {
        if (at == out)
            return fail(Errno::range);
        *--at = '/';
    }
    size_t length = size_t(end - at) - 1;
    memmove(out, at, length + 1);
    return length;
}

void vfs_name_memory(vnode& node) {
    ref_ptr<uvm_pages> memory = node.memory();
    kmem_array<char> path(path_max, false);
    // Without memory for the path it keeps the name that it had.
    if (!memory || !path)
        return;
    constexpr size_t shown = 63;
    bool named = vfs_path_of(node, path.data(), path.size()).has_value();
    lock_guard guard(memory->lock());
    if (!named) {
        // It has no name any more: its last one, marked as Linux does.
        static constexpr char mark[] = " (deleted)";
        constexpr size_t mark_length = sizeof(mark) - 1;
        size_t length = copy_string(path.data(), path.size(), memory->name());
        if (length >= mark_length && !strcmp(path.data() + length - mark_length, mark))
            return;
        length = std::min(length, shown - mark_length);
        memcpy(path.data() + length, mark, sizeof(mark));
    }
    if (strncmp(memory->name(), path.data(), shown) != 0)
        memory->set_identity(path.data(), node.fs().device(), node.inode());
}

// ---- Executables -----------------------------------------------------------------------------

expected<exec_file> exec_file::open(int at_fd, const char* path, int at_flags) {
    if (at_flags & ~(at_symlink_nofollow | at_empty_path))
        return fail(Errno::inval);
    ref_ptr<vnode> node;
    if (!*path && (at_flags & at_empty_path) && at_fd != at_fdcwd) {
        auto f = TRY(current_thread().files->get(at_fd));
        node = ref_ptr<vnode>(f->node());
    } else {
        node = TRY(lookup_path(at_fd, path, !(at_flags & at_symlink_nofollow)));
    }
    if (node->is_symlink())
        return fail(Errno::loop);
    if (!node->is_regular())
        return fail(Errno::acces);
    TRY(check_access(*node, may_execute));
    if ((node->fs().mount_flags() & ms_noexec) || !node->memory())
        return fail(Errno::acces);
    exec_file f;
    f.file_ = TRY(node->open(o_rdonly | o_largefile));
    TRY(node->deny_write_access());
    f.readable_ = check_access(*node, may_read).has_value();
    f.node_ = std::move(node);
    return f;
}

exec_file::exec_file() = default;
exec_file::exec_file(exec_file&&) noexcept = default;

exec_file& exec_file::operator=(exec_file&& other) noexcept {
    std::swap(node_, other.node_);
    std::swap(file_, other.file_);
    readable_ = other.readable_;
    return *this;
}

exec_file::~exec_file() {
    if (node_)
        node_->allow_write_access();
}

expected<size_t> exec_file::read(uint64_t offset, void* to, size_t size) const {
    ref_ptr<uvm_pages> memory = node_->memory();
    uint64_t file_size = memory->size();
    if (offset >= file_size)
        return 0;
    size = std::min<uint64_t>(size, file_size - offset);
    size_t done = 0;
    while (done < size) {
        uint64_t in_page = (offset + done) & page_mask;
        size_t n = std::min<uint64_t>(size - done, page_size - in_page);
        held_page page = TRY(memory->hold((offset + done) >> page_shift, uvm_pages::purpose::read));
        char* out = static_cast<char*>(to) + done;
        if (page)
            memcpy(out, page.data() + in_page, n);
        else
            memset(out, 0, n);
        done += n;
    }
    return done;
}

uint64_t exec_file::size() const { return node_->memory()->size(); }

ref_ptr<uvm_object> exec_file::object() const {
    vfs_name_memory(*node_);
    return node_->memory();
}

ref_ptr<uvm_handle> exec_file::handle() const { return file_; }

ref_ptr<vnode> exec_file::node() const { return node_; }

vattr exec_file::attributes() const {
    vattr a = node_->attributes();
    if (node_->fs().mount_flags() & ms_nosuid)
        a.mode &= ~(s_isuid | s_isgid);
    return a;
}

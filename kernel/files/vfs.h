// The file name space, as the rest of the kernel uses it: paths to vnodes, opening for exec,
// mounting the initial tree. Vnodes themselves are in kernel/files/vnode.h; the file systems in
// kernel/fs/.
#pragma once

#include "kernel/files/file.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"

#include <string_view>

struct boot_info;
struct vattr;
class vnode;

// An executable: a regular file with an x bit for the caller. Holds write access off (ETXTBSY)
// until destroyed.
class exec_file {
public:
    // at_fd and flags as execveat. ENOENT EACCES ENOTDIR ELOOP ETXTBSY ENAMETOOLONG...
    static expected<exec_file> open(int at_fd, const char* path, int at_flags);
    exec_file(exec_file&&) noexcept;
    exec_file& operator=(exec_file&&) noexcept;
    ~exec_file();

    // Up to `size` bytes at `offset`; fewer only at the end of the file.
    expected<size_t> read(uint64_t offset, void* to, size_t size) const;
    uint64_t size() const;
    ref_ptr<uvm_object> object() const; // what its segments map, and
    ref_ptr<uvm_handle> handle() const; // through what
    ref_ptr<vnode> node() const;        // for /proc/PID/exe
    // Mode, owner and group as they were at one instant, without set-id bits on a nosuid mount. Who
    // decides by two of them reads once: a chown between two reads would lend one file's bits to
    // another owner.
    vattr attributes() const;
    bool readable() const { return readable_; } // by who opened it

private:
    exec_file();
    ref_ptr<vnode> node_;
    ref_ptr<file> file_; // open for reading
    bool readable_ = false;
};

// The absolute path of a vnode for getcwd, /proc/PID/exe and cwd, maps. ENOENT if it was unlinked;
// ERANGE.
expected<size_t> vfs_path_of(vnode& node, char* out, size_t size);

// Opens for kernel use and for init: /dev/console as descriptors 0, 1 and 2.
expected<ref_ptr<file>> vfs_open(const char* path, uint32_t flags, uint32_t mode);
// open(2) without the descriptor.
expected<ref_ptr<file>> vfs_open_at(int at_fd, const char* path, uint32_t flags, uint32_t mode);
// Opens an inode that has been found; checks everything that depends on it. `created`: by this
// call, so that its permission bits do not count.
expected<ref_ptr<file>> vfs_open_node(vnode& node, uint32_t flags, bool created);
// Before a file's memory is mapped: lets it carry the file's present path, for /proc/PID/maps.
void vfs_name_memory(vnode& node);

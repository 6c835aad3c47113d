// Who may do what with a file: the permission bits against the running process's credentials.
#pragma once

#include "kernel/files/vnode.h"

#include <optional>

enum : uint32_t { may_execute = 1, may_write = 2, may_read = 4 }; // also access(2)'s

// EACCES; EROFS for writing on a read-only mount (not to devices and fifos). With `real_ids` the
// real user and group count, as access(2) wants it, else the file system ones.
status check_access(vnode& node, uint32_t wanted, bool real_ids = false);
// For making a name in a directory. EACCES EROFS.
status check_create(vnode& directory);
// The sticky bit's rule for removing `victim` from `directory`. EPERM.
status check_sticky(vnode& directory, vnode& victim);
// Whether the caller owns the file or is the superuser.
bool is_owner(vnode& node);
bool is_superuser();
// Whose a file is that the caller makes.
struct file_owner {
    uint32_t uid, gid;
};
file_owner owner_for_caller();
// What a file that the caller makes in `directory` with `mode` (type and permission bits; the umask
// is applied here) will be.
new_node node_for_caller(vnode& directory, uint32_t mode, uint64_t device = 0);
// chmod, chown and utimensat with their rules, each in one step. EPERM EROFS.
status change_mode(vnode& node, uint32_t mode);
status change_owner(vnode& node, uint32_t uid, uint32_t gid); // UINT32_MAX: unchanged
// New times of access and modification; nullopt leaves one as it is.
struct new_times {
    std::optional<uint64_t> access, modification;
    bool now = false; // both: whoever may write may do that
};
status change_times(vnode& node, const new_times& times); // also EACCES
// After every change that the caller has made to a regular file's contents, by whatever way: mtime
// and ctime, and the set-id bits that must not outlive it.
void contents_changed(vnode& node);

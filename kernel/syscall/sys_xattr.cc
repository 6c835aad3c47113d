// Extended attributes: no file system here has any, and each call says so once it has found its
// file and read the name, as Linux does for such a file system.
#include "kernel/abi/syscalls.h"
#include "kernel/files/file.h"
#include "kernel/files/lookup.h"
#include "kernel/files/path_buffer.h"
#include "kernel/process/thread.h"

using namespace linux_abi;

namespace {

sysresult no_attributes(sys_path path, bool follow) {
    auto name = TRY(path_buffer::copy(path));
    TRY(lookup_path(at_fdcwd, name.c_str(), follow));
    return fail(Errno::opnotsupp);
}

sysresult no_attributes(sys_fd fd) {
    auto f = TRY(current_thread().files->get(fd));
    return fail(f->flags() & o_path ? Errno::badf : Errno::opnotsupp);
}

// Whether an answer that is about the attribute `name` is about that. ERANGE EFAULT.
sysresult about(sysresult answer, sys_string name) {
    constexpr size_t longest = 255; // XATTR_NAME_MAX
    if (answer.error() != Errno::opnotsupp)
        return answer;
    char text[longest + 1];
    auto length = copy_in_string(text, name.address, sizeof(text));
    if (!length && length.error() != Errno::nametoolong)
        return fail(length.error());
    return length && *length ? answer : fail(Errno::range);
}

// What a new value may be. EINVAL E2BIG.
status check_value(uint64_t size, sys_hex flags) {
    constexpr uint64_t largest = 65536; // XATTR_SIZE_MAX
    constexpr uint32_t create_or_replace = 3;
    if (flags & ~create_or_replace)
        return fail(Errno::inval);
    return size > largest ? fail(Errno::toobig) : status();
}

} // namespace

sysresult sys_setxattr(sys_path path, sys_string name, sys_address, uint64_t size, sys_hex flags) {
    TRY(check_value(size, flags));
    return about(no_attributes(path, true), name);
}

sysresult sys_lsetxattr(sys_path path, sys_string name, sys_address, uint64_t size, sys_hex flags) {
    TRY(check_value(size, flags));
    return about(no_attributes(path, false), name);
}

sysresult sys_fsetxattr(sys_fd fd, sys_string name, sys_address, uint64_t size, sys_hex flags) {
    TRY(check_value(size, flags));
    return about(no_attributes(fd), name);
}

sysresult sys_getxattr(sys_path path, sys_string name, sys_address, uint64_t) {
    return about(no_attributes(path, true), name);
}

sysresult sys_lgetxattr(sys_path path, sys_string name, sys_address, uint64_t) {
    return about(no_attributes(path, false), name);
}

sysresult sys_fgetxattr(sys_fd fd, sys_string name, sys_address, uint64_t) {
    return about(no_attributes(fd), name);
}

sysresult sys_listxattr(sys_path path, sys_address, uint64_t) { return no_attributes(path, true); }

sysresult sys_llistxattr(sys_path path, sys_address, uint64_t) {
    return no_attributes(path, false);
}

sysresult sys_flistxattr(sys_fd fd, sys_address, uint64_t) { return no_attributes(fd); }

sysresult sys_removexattr(sys_path path, sys_string name) {
    return about(no_attributes(path, true), name);
}

sysresult sys_lremovexattr(sys_path path, sys_string name) {
    return about(no_attributes(path, false), name);
}

sysresult sys_fremovexattr(sys_fd fd, sys_string name) { return about(no_attributes(fd), name); }

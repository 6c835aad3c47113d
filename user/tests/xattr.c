// Extended attributes where a file system has none: EOPNOTSUPP, once the file has been found. The
// file is one of /proc, which has none on Linux either.
#include "../lib/proc.h"

#include <fcntl.h>
#include <sys/xattr.h>

static const char file[] = "/proc/self/stat", name[] = "user.x";

static void none(void) {
    char value[16];
    int fd = open(file, O_RDONLY);
    need(fd >= 0);
    is_errno(getxattr(file, name, value, sizeof value), EOPNOTSUPP, "getxattr");
    is_errno(lgetxattr("/proc/self", "system.x", value, 1), EOPNOTSUPP, "lgetxattr of a link");
    is_errno(fgetxattr(fd, name, value, sizeof value), EOPNOTSUPP, "fgetxattr");
    is_errno(setxattr(file, "system.x", "v", 1, 0), EOPNOTSUPP, "setxattr");
    is_errno(fsetxattr(fd, "system.x", "v", 1, XATTR_CREATE), EOPNOTSUPP, "fsetxattr");
    is_errno(removexattr(file, "system.x"), EOPNOTSUPP, "removexattr");
    is_errno(fremovexattr(fd, "system.x"), EOPNOTSUPP, "fremovexattr");
    // A Linux with security modules has an empty list instead.
    ok(listxattr(file, value, sizeof value) == 0 || errno == EOPNOTSUPP, "listxattr");
    ok(flistxattr(fd, value, sizeof value) == 0 || errno == EOPNOTSUPP, "flistxattr");
}

static void mistakes(void) {
    char value[16], long_name[300];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    is_errno(getxattr("/proc/nothing", name, value, 1), ENOENT, "no such file");
    is_errno(listxattr("/proc/nothing", value, 1), ENOENT, "to list");
    is_errno(fgetxattr(99, name, value, 1), EBADF, "no such descriptor");
    is_errno(flistxattr(open(file, O_PATH), value, 1), EBADF, "one that is only a place");
    is_errno(getxattr(file, "", value, 1), ERANGE, "no name");
    is_errno(getxattr(file, long_name, value, 1), ERANGE, "a long one");
    is_errno(getxattr(file, (char*)-1L, value, 1), EFAULT, "a bad one");
    is_errno(setxattr(file, name, "v", 1, 4), EINVAL, "no such flag");
    is_errno(setxattr(file, name, "v", 65537, 0), E2BIG, "too much");
}

int main(void) {
    subtest("none", none);
    subtest("mistakes", mistakes);
    return done();
}

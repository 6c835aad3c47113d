#include "kernel/process/utsname.h"

#include "kernel/abi/syscalls.h"
#include "kernel/process/process.h"
#include "lib/lock.h"
#include "lib/string.h"

namespace {

spin_lock name_lock{lock_rank::wait, "hostname"};
char hostname[utsname_length] GUARDED_BY(name_lock) = "spork";

struct linux_utsname {
    char system[utsname_length], node[utsname_length], release[utsname_length],
        version[utsname_length], machine[utsname_length], domain[utsname_length];
};

} // namespace

void hostname_get(char (&out)[utsname_length]) {
    lock_guard guard(name_lock);
    memcpy(out, hostname, sizeof out);
}

status hostname_set(const char* name, size_t length) {
    if (length >= utsname_length)
        return fail(Errno::inval);
    lock_guard guard(name_lock);
    memcpy(hostname, name, length);
    memset(hostname + length, 0, sizeof hostname - length);
    return {};
}

sysresult sys_uname(user_ptr<void> out) {
    linux_utsname u{};
    copy_string(u.system, sizeof u.system, kernel_name);
    hostname_get(u.node);
    copy_string(u.release, sizeof u.release, kernel_release);
    copy_string(u.version, sizeof u.version, kernel_version);
    copy_string(u.machine, sizeof u.machine, "x86_64");
    copy_string(u.domain, sizeof u.domain, "(none)");
    TRY(out.as<linux_utsname>().write(u));
    return 0;
}

sysresult sys_sethostname(sys_string name, uint64_t size) {
    char text[utsname_length];
    if (!current_credentials().superuser())
        return fail(Errno::perm);
    if (size >= sizeof text)
        return fail(Errno::inval);
    TRY(copy_in(text, name.address, size));
    TRY(hostname_set(text, size));
    return 0;
}

// Users and groups: Linux's rules for who may become whom, without capabilities (effective user 0
// may everything).
#include "kernel/process.h"
#include "kernel/syscall.h"
#include "kernel/thread.h"

#include <algorithm>
#include <iterator>

namespace {

constexpr uint32_t unchanged = UINT32_MAX;

// One of the two sets of ids in credentials, so that each rule is written once.
struct id_set {
    uint32_t credentials::* real;
    uint32_t credentials::* effective;
    uint32_t credentials::* saved;
    uint32_t credentials::* filesystem;
};
constexpr id_set user_ids{&credentials::uid, &credentials::euid, &credentials::suid,
                          &credentials::fsuid};
constexpr id_set group_ids{&credentials::gid, &credentials::egid, &credentials::sgid,
                           &credentials::fsgid};

// Whether `id` is among the three that an unprivileged program may choose from.
bool has(const credentials& c, const id_set& s, uint32_t id) {
    return c.*s.real == id || c.*s.effective == id || c.*s.saved == id;
}

// After each change, by the one who has seen `before`: whoever could look into the program, or
// asked for a signal from its parent, did so as somebody else. Caller holds p.lock.
void credentials_changed(process& p, const credentials& before) REQUIRES(p.lock) {
    const credentials& c = p.cred;
    if (c.euid != before.euid || c.egid != before.egid || c.fsuid != before.fsuid ||
        c.fsgid != before.fsgid) {
        p.dumpable = false;
        current_thread().parent_death_signal = 0;
    }
    process_tell_limits(p);
}

// setuid: all three for the superuser, else the effective one.
sysresult set_id(const id_set& s, uint32_t id) {
    process& p = current_process();
    lock_guard guard(p.lock);
    credentials& c = p.cred;
    const credentials before = c;
    if (id == unchanged)
        return fail(Errno::inval);
    if (c.superuser())
        c.*s.real = c.*s.saved = id;
    else if (c.*s.real != id && c.*s.saved != id)
        return fail(Errno::perm);
    c.*s.effective = c.*s.filesystem = id;
    credentials_changed(p, before);
    return 0;
}

// setreuid: the saved id follows the effective one when the real one is set, or it differs from the
// real one.
sysresult set_real_effective(const id_set& s, uint32_t real, uint32_t effective) {
    process& p = current_process();
    lock_guard guard(p.lock);
    credentials& c = p.cred;
    const credentials before = c;
    if (!c.superuser()) {
        if (real != unchanged && c.*s.real != real && c.*s.effective != real)
            return fail(Errno::perm);
        if (effective != unchanged && !has(c, s, effective))
            return fail(Errno::perm);
    }
    if (real != unchanged)
        c.*s.real = real;
    if (effective != unchanged)
        c.*s.effective = effective;
    if (real != unchanged || (effective != unchanged && effective != before.*s.real))
        c.*s.saved = c.*s.effective;
    c.*s.filesystem = c.*s.effective;
    credentials_changed(p, before);
    return 0;
}

sysresult set_all(const id_set& s, uint32_t real, uint32_t effective, uint32_t saved) {
    process& p = current_process();
    lock_guard guard(p.lock);
    credentials& c = p.cred;
    const credentials before = c;
    if (!c.superuser())
        for (uint32_t id : {real, effective, saved})
            if (id != unchanged && !has(c, s, id))
                return fail(Errno::perm);
    if (real != unchanged)
        c.*s.real = real;
    if (effective != unchanged)
        c.*s.effective = effective;
    if (saved != unchanged)
        c.*s.saved = saved;
    c.*s.filesystem = c.*s.effective;
    credentials_changed(p, before);
    return 0;
}

sysresult get_all(const id_set& s, user_ptr<uint32_t> real, user_ptr<uint32_t> effective,
                  user_ptr<uint32_t> saved) {
    credentials c = current_credentials();
    TRY(real.write(c.*s.real));
    TRY(effective.write(c.*s.effective));
    TRY(saved.write(c.*s.saved));
    return 0;
}

// setfsuid never fails: it returns the old id.
sysresult set_filesystem(const id_set& s, uint32_t id) {
    process& p = current_process();
    lock_guard guard(p.lock);
    credentials& c = p.cred;
    const credentials before = c;
    if (id != unchanged && (c.superuser() || has(c, s, id)))
        c.*s.filesystem = id;
    credentials_changed(p, before);
    return before.*s.filesystem;
}

} // namespace

credentials current_credentials() {
    process& p = current_process();
    lock_guard guard(p.lock);
    return p.cred;
}

sysresult sys_getuid() { return current_credentials().uid; }
sysresult sys_geteuid() { return current_credentials().euid; }
sysresult sys_getgid() { return current_credentials().gid; }
sysresult sys_getegid() { return current_credentials().egid; }
sysresult sys_setuid(uint32_t uid) { return set_id(user_ids, uid); }
sysresult sys_setgid(uint32_t gid) { return set_id(group_ids, gid); }
sysresult sys_setreuid(uint32_t r, uint32_t e) { return set_real_effective(user_ids, r, e); }
sysresult sys_setregid(uint32_t r, uint32_t e) { return set_real_effective(group_ids, r, e); }
sysresult sys_setresuid(uint32_t r, uint32_t e, uint32_t s) { return set_all(user_ids, r, e, s); }
sysresult sys_setresgid(uint32_t r, uint32_t e, uint32_t s) { return set_all(group_ids, r, e, s); }
sysresult sys_getresuid(user_ptr<uint32_t> r, user_ptr<uint32_t> e, user_ptr<uint32_t> s) {
    return get_all(user_ids, r, e, s);
}
sysresult sys_getresgid(user_ptr<uint32_t> r, user_ptr<uint32_t> e, user_ptr<uint32_t> s) {
    return get_all(group_ids, r, e, s);
}
sysresult sys_setfsuid(uint32_t uid) { return set_filesystem(user_ids, uid); }
sysresult sys_setfsgid(uint32_t gid) { return set_filesystem(group_ids, gid); }

sysresult sys_getgroups(int32_t size, user_ptr<uint32_t> list) {
    credentials c = current_credentials();
    if (size < 0)
        return fail(Errno::inval);
    if (size == 0)
        return c.group_count;
    if (uint32_t(size) < c.group_count)
        return fail(Errno::inval);
    TRY(copy_out(list.address(), c.groups, c.group_count * sizeof c.groups[0]));
    return c.group_count;
}

sysresult sys_setgroups(int32_t size, user_ptr<const uint32_t> list) {
    uint32_t groups[std::size(credentials{}.groups)];
    if (!current_credentials().superuser())
        return fail(Errno::perm);
    if (size < 0 || size_t(size) > std::size(groups))
        return fail(Errno::inval);
    TRY(copy_in(groups, list.address(), size_t(size) * sizeof groups[0]));
    process& p = current_process();
    lock_guard guard(p.lock);
    std::copy_n(groups, size, p.cred.groups);
    p.cred.group_count = uint32_t(size);
    return 0;
}

// capget, for programs that ask whether they may do something: all or nothing, as the effective
// user says.
sysresult sys_capget(user_ptr<void> header, user_ptr<void> data) {
    struct cap_header {
        uint32_t version;
        int32_t pid;
    };
    struct cap_data {
        uint32_t effective, permitted, inheritable;
    };
    constexpr uint32_t version1 = 0x19980330, version2 = 0x20071026, version3 = 0x20080522;
    auto h = header.as<cap_header>();
    cap_header asked = TRY(h.read());
    if (asked.version != version1 && asked.version != version2 && asked.version != version3) {
        asked.version = version3;
        TRY(h.write(asked));
        if (!data)
            return 0;
        return fail(Errno::inval);
    }
    if (asked.pid < 0)
        return fail(Errno::inval);
    ref_ptr<process> p = asked.pid == 0 ? ref_ptr(&current_process()) : process_find(asked.pid);
    if (!p)
        return fail(Errno::srch);
    bool all;
    {
        lock_guard guard(p->lock);
        all = p->cred.superuser();
    }
    constexpr uint32_t high_capabilities = 0x1ff; // 32 to 40
    const cap_data low{all ? UINT32_MAX : 0, all ? UINT32_MAX : 0, 0};
    const cap_data high{all ? high_capabilities : 0, all ? high_capabilities : 0, 0};
    auto out = data.as<cap_data>();
    if (!out)
        return 0;
    TRY(out.write_at(0, low));
    if (asked.version != version1)
        TRY(out.write_at(1, high));
    return 0;
}

// Users and groups: Linux's rules for who may become whom, without capabilities (effective user 0
// may everything).
#include "kernel/abi/syscalls.h"
#include "kernel/process/call_memory.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "vm/vmspace.h"

#include <span>

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

// Gives the process the credentials that `change` makes of its present ones, unless `change` says
// why not. ENOMEM; EAGAIN, as setuid(2) has it, when there is none for the account of a new real
// user, who gets the process's tasks.
template <class Change> status change_credentials(Change change) {
    process& p = current_process();
    for (;;) {
        const ref_ptr<const security_context> before = process_context(p);
        credentials c = before->cred;
        TRY(change(c));
        // Whoever could look into the program, or asked for a signal from its parent, did so as
        // somebody else.
        const credentials& was = before->cred;
        const bool somebody_else = c.euid != was.euid || c.egid != was.egid ||
                                   c.fsuid != was.fsuid || c.fsgid != was.fsgid;
        auto next =
            TRY(security_context::create(c, before->dumpable && !somebody_else, before->program));
        next->vm = before->vm;
        user_charge tasks;
        if (c.uid != was.uid)
            tasks = TRY(user_charge::take(c.uid, user_resource::tasks, 1, user_charge::no_limit,
                                          Errno::again));
        if (!process_replace_context(p, before, std::move(next)))
            continue; // another thread was quicker
        {
            lock_guard guard(p.lock);
            if (tasks.units() && p.context->cred.uid == c.uid) { // else another's change came next
                (void)tasks.resize(p.tasks.units(), user_charge::no_limit);
                std::swap(p.tasks, tasks);
            }
        }
        if (somebody_else)
            current_thread().parent_death_signal = 0;
        return {};
    }
}

// setuid: all three for the superuser, else the effective one.
sysresult set_id(const id_set& s, uint32_t id) {
    if (id == unchanged)
        return fail(Errno::inval);
    TRY(change_credentials([&](credentials& c) -> status {
        if (c.superuser())
            c.*s.real = c.*s.saved = id;
        else if (c.*s.real != id && c.*s.saved != id)
            return fail(Errno::perm);
        c.*s.effective = c.*s.filesystem = id;
        return {};
    }));
    return 0;
}

// setreuid: the saved id follows the effective one when the real one is set, or it differs from the
// real one.
sysresult set_real_effective(const id_set& s, uint32_t real, uint32_t effective) {
    TRY(change_credentials([&](credentials& c) -> status {
        const uint32_t real_before = c.*s.real;
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
        if (real != unchanged || (effective != unchanged && effective != real_before))
            c.*s.saved = c.*s.effective;
        c.*s.filesystem = c.*s.effective;
        return {};
    }));
    return 0;
}

sysresult set_all(const id_set& s, uint32_t real, uint32_t effective, uint32_t saved) {
    TRY(change_credentials([&](credentials& c) -> status {
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
        return {};
    }));
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

// setfsuid never fails: it returns the old id, changed or not.
sysresult set_filesystem(const id_set& s, uint32_t id) {
    uint32_t before = 0;
    (void)change_credentials([&](credentials& c) -> status {
        before = c.*s.filesystem;
        if (id != unchanged && (c.superuser() || has(c, s, id)))
            c.*s.filesystem = id;
        return {};
    });
    return before;
}

} // namespace

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
    const credentials c = current_credentials();
    const std::span<const uint32_t> groups = c.groups();
    if (size < 0)
        return fail(Errno::inval);
    if (size == 0)
        return groups.size();
    if (size_t(size) < groups.size())
        return fail(Errno::inval);
    TRY(copy_out(list.address(), groups.data(), groups.size_bytes()));
    return groups.size();
}

sysresult sys_setgroups(int32_t size, user_ptr<const uint32_t> list) {
    if (!current_credentials().superuser())
        return fail(Errno::perm);
    if (size < 0 || size_t(size) > group_list::most)
        return fail(Errno::inval);
    ref_ptr<const group_list> next;
    if (size != 0) {
        call_array<uint32_t> groups{size_t(size)};
        if (!groups)
            return fail(Errno::nomem);
        TRY(copy_in(groups.data(), list.address(), groups.size() * sizeof groups[0]));
        for (uint32_t group : groups)
            if (group == unchanged) // it is no group's number
                return fail(Errno::inval);
        next = TRY(group_list::create(std::move(groups)));
    }
    TRY(change_credentials([&](credentials& c) -> status {
        if (!c.superuser())
            return fail(Errno::perm);
        c.supplementary = next;
        return {};
    }));
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
    const bool all = process_credentials(*p).superuser();
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

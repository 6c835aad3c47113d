#include "kernel/files/permission.h"

#include "kernel/files/fs_context.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"

using namespace linux_abi;

// The parts of the credentials that a check of permission bits needs.
namespace {
struct caller {
    uint32_t uid, gid;
    bool in_group; // of the file
};
} // namespace

static caller caller_for(uint32_t gid, bool real_ids) {
    process& self = current_process();
    lock_guard guard(self.lock);
    const credentials& cred = self.context->cred;
    caller c{real_ids ? cred.uid : cred.fsuid, real_ids ? cred.gid : cred.fsgid, false};
    c.in_group = c.gid == gid || cred.has_group(gid);
    return c;
}

// The superuser executes only what somebody may execute.
static bool allows(const vattr& a, const caller& c, uint32_t wanted) {
    if (c.uid == 0)
        return !(wanted & may_execute) || (a.mode & s_ifmt) == s_ifdir || (a.mode & 0111);
    uint32_t granted = a.mode;
    if (c.uid == a.uid)
        granted >>= 6;
    else if (c.in_group)
        granted >>= 3;
    return (granted & wanted) == wanted;
}

static bool owns(const vattr& a, const caller& c) { return c.uid == 0 || c.uid == a.uid; }

// The mode without the bits that a change of owner or contents takes away: what the file now is
// nobody has vouched for.
static uint32_t without_privileges(const vattr& a, const caller& c) {
    uint32_t lost = s_isuid;
    if ((a.mode & s_ixgrp) || (c.uid != 0 && !c.in_group))
        lost |= s_isgid;
    return a.mode & 07777 & ~lost;
}

status check_access(vnode& node, uint32_t wanted, bool real_ids) {
    bool special = node.type() == s_ifchr || node.type() == s_ifblk || node.type() == s_ififo;
    if ((wanted & may_write) && node.fs().read_only() && !special)
        return fail(Errno::rofs);
    vattr a = node.attributes();
    return allows(a, caller_for(a.gid, real_ids), wanted) ? status() : fail(Errno::acces);
}

status check_create(vnode& directory) { return check_access(directory, may_write | may_execute); }

bool is_superuser() { return owner_for_caller().uid == 0; }

bool is_owner(vnode& node) {
    vattr a = node.attributes();
    return owns(a, caller_for(a.gid, false));
}

status check_sticky(vnode& directory, vnode& victim) {
    vattr d = directory.attributes();
    if (!(d.mode & s_isvtx))
        return {};
    caller c = caller_for(d.gid, false);
    return owns(d, c) || c.uid == victim.attributes().uid ? status() : fail(Errno::perm);
}

file_owner owner_for_caller() {
    process& self = current_process();
    lock_guard guard(self.lock);
    return {self.context->cred.fsuid, self.context->cred.fsgid};
}

new_node node_for_caller(vnode& directory, uint32_t mode, uint64_t device) {
    constexpr uint32_t runs_as_group = s_isgid | s_ixgrp;
    vattr d = directory.attributes();
    caller c = caller_for(d.gid, false);
    new_node is{mode, c.uid, c.gid, device};
    if ((mode & s_ifmt) != s_iflnk)
        is.mode &= ~current_thread().fs->umask();
    if (d.mode & s_isgid) {
        is.gid = d.gid;
        if ((mode & s_ifmt) == s_ifdir)
            is.mode |= s_isgid;
        else if ((mode & runs_as_group) == runs_as_group && c.uid != 0 && !c.in_group)
            is.mode &= ~s_isgid; // the group is not the caller's to lend
    }
    return is;
}

status change_mode(vnode& node, uint32_t mode) {
    return node.change_attributes([&](const vattr& is) -> expected<vattr_change> {
        caller c = caller_for(is.gid, false);
        if (!owns(is, c))
            return fail(Errno::perm);
        const bool keeps_group = c.uid == 0 || c.in_group;
        return vattr_change{.mode = keeps_group ? mode : mode & ~s_isgid};
    });
}

status change_owner(vnode& node, uint32_t uid, uint32_t gid) {
    return node.change_attributes([&](const vattr& is) -> expected<vattr_change> {
        caller c = caller_for(is.gid, false);
        vattr_change change;
        if (uid != UINT32_MAX)
            change.uid = uid;
        if (gid != UINT32_MAX)
            change.gid = gid;
        if (!node.is_directory() && without_privileges(is, c) != (is.mode & 07777))
            change.mode = without_privileges(is, c);
        if (c.uid == 0)
            return change;
        // The owner may give a file to one of his groups, and to nobody else.
        const bool owner = c.uid == is.uid;
        const bool uid_allowed = !change.uid || (owner && uid == is.uid);
        const bool gid_allowed =
            !change.gid || (owner && (gid == is.gid || caller_for(gid, false).in_group));
        if (!uid_allowed || !gid_allowed || (change.mode && !owner))
            return fail(Errno::perm);
        return change;
    });
}

status change_times(vnode& node, const new_times& times) {
    return node.change_attributes([&](const vattr& is) -> expected<vattr_change> {
        caller c = caller_for(is.gid, false);
        if (!owns(is, c) && !times.now)
            return fail(Errno::perm);
        if (!owns(is, c) && !allows(is, c, may_write))
            return fail(Errno::acces);
        return vattr_change{.atime = times.access, .mtime = times.modification};
    });
}

void contents_changed(vnode& node) {
    const uint64_t now = file_time_now();
    (void)node.change_attributes([&](const vattr& is) -> expected<vattr_change> {
        vattr_change change{.mtime = now};
        if (is.mode & (s_isuid | s_isgid))
            if (caller c = caller_for(is.gid, false); c.uid != 0)
                change.mode = without_privileges(is, c);
        return change;
    });
}

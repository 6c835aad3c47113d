#include "kernel/fs/permission.h"

#include "kernel/fs/mount.h"
#include "kernel/process.h"
#include "kernel/thread.h"

// The parts of the credentials that a check of permission bits needs.
namespace {
struct caller {
    uint32_t uid, gid;
    bool in_group; // of the file
};
} // namespace

static bool in_groups(const credentials& cred, uint32_t gid) {
    for (uint32_t i = 0; i < cred.group_count; i++)
        if (cred.groups[i] == gid)
            return true;
    return false;
}

static caller caller_for(uint32_t gid, bool real_ids) {
    process& self = current_process();
    lock_guard guard(self.lock);
    caller c{real_ids ? self.cred.uid : self.cred.fsuid, real_ids ? self.cred.gid : self.cred.fsgid,
             false};
    c.in_group = c.gid == gid || in_groups(self.cred, gid);
    return c;
}

status check_access(vnode& node, uint32_t wanted, bool real_ids) {
    bool special = node.type() == S_IFCHR_ || node.type() == S_IFBLK_ || node.type() == S_IFIFO_;
    if ((wanted & may_write) && node.fs().read_only() && !special)
        return fail(Errno::rofs);
    vattr a = node.attributes();
    caller c = caller_for(a.gid, real_ids);
    if (c.uid == 0) {
        // The superuser executes only what somebody may execute.
        if ((wanted & may_execute) && !node.is_directory() && !(a.mode & 0111))
            return fail(Errno::acces);
        return {};
    }
    uint32_t granted = a.mode;
    if (c.uid == a.uid)
        granted >>= 6;
    else if (c.in_group)
        granted >>= 3;
    if ((granted & wanted) != wanted)
        return fail(Errno::acces);
    return {};
}

status check_create(vnode& directory) { return check_access(directory, may_write | may_execute); }

bool is_superuser() {
    process& self = current_process();
    lock_guard guard(self.lock);
    return self.cred.fsuid == 0;
}

bool is_owner(vnode& node) {
    vattr a = node.attributes();
    caller c = caller_for(a.gid, false);
    return c.uid == 0 || c.uid == a.uid;
}

status check_sticky(vnode& directory, vnode& victim) {
    vattr d = directory.attributes();
    if (!(d.mode & S_ISVTX_))
        return {};
    caller c = caller_for(d.gid, false);
    if (c.uid == 0 || c.uid == d.uid || c.uid == victim.attributes().uid)
        return {};
    return fail(Errno::perm);
}

file_owner owner_for_caller() {
    process& self = current_process();
    lock_guard guard(self.lock);
    return {self.cred.fsuid, self.cred.fsgid};
}

new_node node_for_caller(vnode& directory, uint32_t mode, uint64_t device) {
    vattr d = directory.attributes();
    caller c = caller_for(d.gid, false);
    new_node is{mode, c.uid, c.gid, device};
    if ((mode & S_IFMT_) != S_IFLNK_)
        is.mode &= ~current_thread().fs->umask();
    if (d.mode & S_ISGID_) {
        is.gid = d.gid;
        if ((mode & S_IFMT_) == S_IFDIR_)
            is.mode |= S_ISGID_;
    }
    return is;
}

status change_mode(vnode& node, uint32_t mode) {
    if (node.fs().read_only())
        return fail(Errno::rofs);
    if (!is_owner(node))
        return fail(Errno::perm);
    mode &= 07777;
    caller c = caller_for(node.attributes().gid, false);
    if (c.uid != 0 && !c.in_group)
        mode &= ~S_ISGID_;
    return node.set_attributes({.mode = mode});
}

status change_owner(vnode& node, uint32_t uid, uint32_t gid) {
    if (node.fs().read_only())
        return fail(Errno::rofs);
    vattr a = node.attributes();
    vattr_change change;
    if (uid != UINT32_MAX)
        change.uid = uid;
    if (gid != UINT32_MAX)
        change.gid = gid;
    caller c = caller_for(gid, false);
    if (c.uid != 0) {
        // The owner may give a file to one of his groups, and to nobody else.
        bool uid_allowed = !change.uid || (c.uid == a.uid && uid == a.uid);
        bool gid_allowed = !change.gid || (c.uid == a.uid && (c.in_group || gid == a.gid));
        if (!uid_allowed || !gid_allowed)
            return fail(Errno::perm);
    }
    if ((change.uid || change.gid) && !node.is_directory()) {
        uint32_t mode = a.mode & 07777 & ~S_ISUID_;
        if (mode & S_IXGRP_)
            mode &= ~S_ISGID_;
        if (mode != (a.mode & 07777))
            change.mode = mode;
    }
    return node.set_attributes(change);
}

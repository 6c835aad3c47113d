#include "kernel/files/mount.h"

#include "lib/string.h"
#include "vm/phys/pool.h"

using namespace linux_abi;

static sleep_lock mounts_lock{lock_rank::mount, "mounts"};
static list<mount_point, &mount_point::in_table> mounts GUARDED_BY(mounts_lock);
static constinit pool<mount_point> mount_points{"mount"};
static vnode* the_root; // set once; its mount keeps it

status mount_root(file_system& fs, const char* source) {
    mount_point* m = mount_points.create();
    if (!m)
        return fail(Errno::nomem);
    m->fs = &fs;
    m->root = fs.root();
    copy_string(m->source, sizeof(m->source), source);
    the_root = m->root.get();
    lock_guard guard(mounts_lock);
    mounts.push_back(*m);
    return {};
}

static mount_point* mount_with_root(const vnode& node) REQUIRES(mounts_lock) {
    for (mount_point& m : mounts)
        if (m.root.get() == &node)
            return &m;
    return nullptr;
}

status mount_on(ref_ptr<vnode> directory, file_system& fs, const char* source) {
    if (!directory->is_directory())
        return fail(Errno::notdir);
    mount_point* m = mount_points.create();
    if (!m)
        return fail(Errno::nomem);
    m->fs = &fs;
    m->root = fs.root();
    copy_string(m->source, sizeof(m->source), source);

    Errno error{};
    {
        lock_guard guard(mounts_lock);
        mount_point* here = mount_with_root(*directory);
        if (directory->mounted_here.load())
            error = Errno::busy;
        else if (here && here->covered && !strcmp(here->fs->type(), fs.type()))
            error = Errno::busy; // the same thing once more in the same place
        else if (status s = directory->mount_here(*m); !s)
            error = s.error();
        else {
            m->covered = std::move(directory);
            mounts.push_back(*m);
            return {};
        }
    }
    mount_points.destroy(m);
    return fail(error);
}

status unmount(ref_ptr<vnode> root) {
    mount_point* m;
    {
        lock_guard guard(mounts_lock);
        m = mount_with_root(*root);
        if (!m)
            return fail(Errno::inval);
        // The root is held by the mount and by our caller.
        if (!m->covered || m->root->mounted_here.load() || m->fs->busy(2))
            return fail(Errno::busy);
        for (mount_point& other : mounts)
            if (other.covered && &other.covered->fs() == m->fs)
                return fail(Errno::busy);
        m->covered->mounted_here.store(nullptr);
        mounts.remove(*m);
    }
    file_system* fs = m->fs;
    mount_points.destroy(m);
    root.reset();
    fs->destroy();
    return {};
}

// Read-only it becomes first, which may be refused, and writable last, which never is.
status remount(vnode& root, uint32_t flags, char* options) {
    lock_guard guard(mounts_lock);
    if (!mount_with_root(root))
        return fail(Errno::inval);
    file_system& fs = root.fs();
    const uint32_t before = fs.mount_flags();
    const bool ends_writing = !fs.read_only() && (flags & ms_rdonly);
    const bool begins_writing = fs.read_only() && !(flags & ms_rdonly);
    if (flags & ms_rdonly)
        TRY(fs.set_mount_flags(flags));
    status set = ends_writing ? fs.become_read_only() : status{};
    if (set)
        set = fs.set_options(options);
    if (set && begins_writing)
        set = fs.become_writable();
    if (set)
        set = fs.set_mount_flags(flags);
    else if (flags & ms_rdonly)
        (void)fs.set_mount_flags(before);
    return set;
}

ref_ptr<vnode> root_directory() { return ref_ptr<vnode>(the_root); }

ref_ptr<vnode> cross_down(ref_ptr<vnode> node) {
    while (node->mounted_here.load(std::memory_order_acquire)) {
        lock_guard guard(mounts_lock);
        mount_point* m = node->mounted_here.load();
        if (!m)
            break;
        ref_ptr<vnode> root = m->root;
        guard.unlock();
        node = std::move(root);
        guard.lock();
    }
    return node;
}

ref_ptr<vnode> covered_by(vnode& node) {
    lock_guard guard(mounts_lock);
    mount_point* m = mount_with_root(node);
    return m ? m->covered : nullptr;
}

ref_ptr<vnode> parent_across_mounts(vnode& directory) {
    ref_ptr<vnode> at(&directory);
    for (;;) {
        ref_ptr<vnode> up = at->parent();
        if (up.get() != at.get())
            return up;
        ref_ptr<vnode> covered = covered_by(*at);
        if (!covered)
            return at;
        at = std::move(covered);
    }
}

bool mount_describe(unsigned index, mount_description& out) {
    lock_guard guard(mounts_lock);
    for (mount_point& m : mounts) {
        if (index-- == 0) {
            memcpy(out.source, m.source, sizeof(out.source));
            out.type = m.fs->type();
            out.flags = m.fs->mount_flags();
            m.fs->show_options(out.options, sizeof(out.options));
            out.root = m.root;
            return true;
        }
    }
    return false;
}

status mounts_sync() {
    status result;
    mount_description mount;
    for (unsigned index = 0; mount_describe(index, mount); index++)
        if (const status s = mount.root->fs().sync(); !s && result)
            result = s;
    return result;
}

// The mount table: which file system covers which directory.
//
// One mount for each file_system, and for each a directory that it covers (none for the root). A
// mount holds a reference to the directory. The table's lock (rank mount) guards the list;
// vnode::mounted_here tells look-ups whether it is worth asking.
#pragma once

#include "kernel/abi/files.h"
#include "kernel/files/vnode.h"

struct mount_point {
    list_node in_table;
    file_system* fs = nullptr;
    ref_ptr<vnode> root;
    ref_ptr<vnode> covered; // null for the root of all
    char source[64] = {};
};

// Makes `fs` the root of everything. Once.
status mount_root(file_system& fs, const char* source);
// Mounts `fs` on a directory. ENOTDIR ENOMEM; ENOENT when it has been removed; EBUSY when the
// directory's own root is of the same type. On failure the file system stays the caller's.
status mount_on(ref_ptr<vnode> directory, file_system& fs, const char* source);
// Takes away what is mounted where `root` is the root of, and destroys it. EINVAL: it is no mount's
// root; EBUSY.
status unmount(ref_ptr<vnode> root);
// syncfs(2) of every file system. The first error.
status mounts_sync();
// Other flags and options for what is mounted there, both or, with EINVAL or EBUSY, neither.
status remount(vnode& root, uint32_t flags, char* options);

ref_ptr<vnode> root_directory();
// The root of what is mounted on `node`, and on that..., or `node` itself.
ref_ptr<vnode> cross_down(ref_ptr<vnode> node);
// "..", across mounts; the root directory is its own.
ref_ptr<vnode> parent_across_mounts(vnode& directory);
// The directory that the file system with the root `node` covers; null when it is not such a root.
ref_ptr<vnode> covered_by(vnode& node);

// The n-th mount, for /proc/mounts; false past the end.
struct mount_description {
    char source[64];
    const char* type;
    uint32_t flags;
    char options[64]; // of the file system's own
    ref_ptr<vnode> root;
};
bool mount_describe(unsigned index, mount_description& out);

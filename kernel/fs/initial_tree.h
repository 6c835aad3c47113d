// The files that there are at boot: a tmpfs as root with what the boot modules bring, and /dev.
#pragma once

struct boot_info;

// Makes the root tmpfs and unpacks every module that is a newc cpio archive (several may be
// concatenated). Panics only if memory does not suffice. Call from a kernel thread.
void vfs_init(boot_info& info);

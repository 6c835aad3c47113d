// Character devices by number, and the /dev tree that names them.
#pragma once

#include "kernel/files/file.h"
#include "lib/result.h"

class page_quota;
class tmpfs;

enum : uint64_t { // ioctl(2) commands that many files know
    FIONREAD_ = 0x541b,
    FIONBIO_ = 0x5421,
    FIONCLEX_ = 0x5450,
    FIOCLEX_ = 0x5451,
};

// Opens the driver of a node's device number. ENXIO when there is none; a terminal may give others.
expected<ref_ptr<file>> character_device_open(vnode& node, uint32_t flags);
// A new file system with a node for every device and the usual links. ENOMEM.
// `shared`: as tmpfs::create().
expected<tmpfs*> devtmpfs_create(ref_ptr<page_quota> shared);

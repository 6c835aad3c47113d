// Devices by number, and the /dev tree that names them.
#pragma once

#include "kernel/abi/ioctl.h"
#include "kernel/files/file.h"
#include "lib/result.h"

class page_quota;
class pipe_channel;
class tmpfs;

// Opens the driver of a node's device number. ENXIO when there is none; a terminal may give others.
expected<ref_ptr<file>> character_device_open(vnode& node, uint32_t flags);
// Opens the disk of a node's device number (kernel/drivers/disks.h). ENXIO when there is none.
expected<ref_ptr<file>> block_device_open(vnode& node, uint32_t flags);
// Opens a directory, fifo, device or socket, as all file systems do. `fifo`: what the node has under its lock
// for its pipe, made at the first open. ENXIO ENOMEM.
expected<ref_ptr<file>> special_file_open(vnode& node, ref_ptr<pipe_channel>& fifo, uint32_t flags);
// A new file system with a node for every device and the usual links. ENOMEM.
// `shared`: as tmpfs::create().
expected<tmpfs*> devtmpfs_create(ref_ptr<page_quota> shared);

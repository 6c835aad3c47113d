// swapoff(2): everything that lies in an area comes back to memory, and the area is free.
#pragma once

#include "lib/disk.h"
#include "lib/result.h"

// EINVAL: the disk is no swap area. EBUSY: another thread does it already. ENOMEM: not all of it has
// room, or the commit account has promised it; EIO: a page cannot be read; EINTR: the caller is to
// die: it stays on, and what has come stays in memory. Sleeps; no lock is held.
status uvm_swapoff(disk& area);

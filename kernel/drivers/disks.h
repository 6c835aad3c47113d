// The disks that there are, by name and number, and their partitions.
//
// All are made at boot, by one thread, and stay for good: nobody needs a lock to go through them.
#pragma once

#include "lib/disk.h"
#include "lib/result.h"

#include <cstdint>

// A new disk of `driver`, called vda, vdb, ... (`is` needs no name, number or place), and a disk for
// each of its partitions (vda1, ...). Reads it: the driver works. ENOSPC: there are too many. ENOMEM.
expected<disk*> disks_add(disk_driver& driver, disk::facts is);
// The next one; the first for null. A device comes before its partitions. Null at the end.
disk* disk_next(disk* after);
// By its device number; null: there is none.
disk* disk_of(uint64_t number);
// Everything that was written before to any disk is safe. The first error.
status disks_flush();

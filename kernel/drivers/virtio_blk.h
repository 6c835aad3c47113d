// Disks of virtio (virtio 1.2, 5.2).
#pragma once

#include "kernel/drivers/pci.h"

// Makes `f` a disk with its partitions, if it is such a device; what is wrong with it goes to the
// log. May sleep.
void virtio_blk_attach(pci_function& f);

#include "kernel/drivers/drivers.h"

#include "kernel/drivers/pci.h"
#include "kernel/drivers/virtio_blk.h"

void drivers_start() {
    pci_scan();
    for (pci_function* f = pci_next(nullptr); f; f = pci_next(f))
        virtio_blk_attach(*f);
}

#include "kernel/process/tracee.h"

#include "vm/phys/pool.h"

static constinit pool<tracee> tracees{"tracee"};

expected<ref_ptr<tracee>> tracee::create() {
    auto made = ref_ptr<tracee>::adopt(tracees.create());
    if (!made)
        return fail(Errno::nomem);
    return made;
}

void tracee::last_reference_gone() { tracees.destroy(this); }

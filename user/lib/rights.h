// rights.h: what the kernel lets this process do, which being root does not say: in a container root
// has some capabilities of Linux and lacks the others.
#pragma once
#include "tap.h"

#include <stdint.h>
#include <sys/syscall.h>

enum { CAP_IPC_LOCK = 14, CAP_SYS_RAWIO = 17, CAP_SYS_PTRACE = 19 };

// Whether the process has a capability.
TAP_UNUSED static bool may(unsigned capability) {
    struct {
        uint32_t version;
        int pid;
    } header = {.version = 0x20080522};
    struct {
        uint32_t effective, permitted, inheritable;
    } sets[2];
    need(syscall(SYS_capget, &header, sets) == 0);
    return sets[capability / 32].effective >> capability % 32 & 1;
}

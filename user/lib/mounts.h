// mounts.h: a place for a test to mount in, which nobody else sees.
#pragma once
#include "spork.h"
#include "tap.h"

#include <sched.h>
#include <sys/mount.h>

// Whether the caller may mount; skips the subtest if not. Linux gets mounts of the caller's own;
// Spork has one table.
TAP_UNUSED static bool own_mounts(void) {
    if (on_spork())
        return true;
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        skip("needs the right to mount");
        return false;
    }
    return true;
}

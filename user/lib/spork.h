// spork.h: the calls that only Spork has, and what they count in.
#pragma once
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SYS_spork_forkmode = 0x5000, SYS_afork = 0x5001, SYS_minherit = 0x5002 };

// Modes of fork and vfork. DEFAULT: whatever /proc/sys/kernel/fork_mode or vfork_mode says.
enum { FORK_DEFAULT, FORK_COPY, FORK_COW, FORK_COW_PTE };
enum { VFORK_DEFAULT, VFORK_SHARE, VFORK_COW, VFORK_FORK };
enum { MODE_UNCHANGED = -1 };

// Changes the modes of this process, which its children inherit and which exec keeps. Returns what
// they were, the fork mode plus 256 times the vfork mode; EINVAL. ENOSYS elsewhere than on Spork.
static inline int spork_forkmode(int fork_mode, int vfork_mode) {
    return (int)syscall(SYS_spork_forkmode, fork_mode, vfork_mode);
}

static inline bool on_spork(void) { return spork_forkmode(MODE_UNCHANGED, MODE_UNCHANGED) >= 0; }

// What a child of fork gets for a range of pages; the numbers are NetBSD's.
enum { INHERIT_SHARE = 0, INHERIT_COPY = 1, INHERIT_NONE = 2, INHERIT_ZERO = 4 };

// minherit(2): INHERIT_* for the mappings in a range of whole pages. EINVAL, ENOMEM (a hole).
static inline int spork_minherit(void* start, size_t size, int inherit) {
    return (int)syscall(SYS_minherit, start, size, inherit);
}

// A counter of /proc/uvmexp, by its name; -1 when there is none.
static inline long uvmexp(const char* name) {
    char line[128];
    long value = -1;
    FILE* f = fopen("/proc/uvmexp", "re");
    if (f == NULL)
        return -1;
    const size_t length = strlen(name);
    while (value < 0 && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, length) == 0 && line[length] == ' ')
            value = atol(line + length);
    fclose(f);
    return value;
}

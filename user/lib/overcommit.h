// overcommit.h: the commit account and its mode, for programs that show what they do to fork.
#pragma once
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline long meminfo_kb(const char* name) {
    char line[128];
    long kb = -1;
    FILE* f = fopen("/proc/meminfo", "re");
    while (f != NULL && kb < 0 && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            kb = atol(line + strlen(name) + 1);
    if (f != NULL)
        fclose(f);
    return kb;
}

// What may still be promised under strict accounting, in KiB.
static inline long commit_room_kb(void) {
    return meminfo_kb("CommitLimit:") - meminfo_kb("Committed_AS:");
}

// vm.overcommit_memory: "0", "1" or "2". Whether it is set now.
static inline int set_overcommit_mode(const char* mode) {
    int fd = open("/proc/sys/vm/overcommit_memory", O_WRONLY | O_CLOEXEC);
    int done = fd >= 0 && write(fd, mode, strlen(mode)) == (ssize_t)strlen(mode);
    close(fd);
    return done;
}

// The account of promised memory as /proc shows it, in pages, and its settings.
#pragma once
#include "../../lab.h"

#include <errno.h>
#include <fcntl.h>

static inline long pages_of(const char* name) {
    static char text[4096];
    int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    lab_need(fd >= 0, "open");
    const ssize_t n = read(fd, text, sizeof text - 1);
    lab_need(n > 0 && close(fd) == 0, "read");
    text[n] = 0;
    const char* line = strstr(text, name);
    lab_need(line != NULL, name);
    return atol(line + strlen(name)) / 4;
}

static inline void set(const char* path, long value) {
    char text[32];
    const int n = snprintf(text, sizeof text, "%ld", value);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    lab_need(fd >= 0 && write(fd, text, (size_t)n) == n && close(fd) == 0, path);
}

// sync_points.h: holds the threads of one's descendants at points of the kernel
// (kernel/process/sync_point.h), so that a test brings about the order of events that it is about.
// For root.
#pragma once
#include "proc.h"

static const char sync_points[] = "/proc/sys/kernel/sync_points";

// '+' holds whoever comes there from now on, '-' lets them go. False in a kernel without sync
// points.
TAP_UNUSED static bool control(char what, const char* point) {
    char text[64];
    int n = snprintf(text, sizeof text, "%c%s", what, point);
    int fd = open(sync_points, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, (size_t)n) == n;
    close(fd);
    return done;
}

TAP_UNUSED static void hold(const char* point) { need(control('+', point)); }
TAP_UNUSED static void let_go(const char* point) { need(control('-', point)); }

// Whether thread `tid` is held at `point`.
TAP_UNUSED static bool is_at(pid_t tid, const char* point) {
    char text[1024], want[16];
    int fd = open(sync_points, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    need(n > 0);
    text[n] = 0;
    snprintf(want, sizeof want, " %d", tid);
    for (char* line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char* list = strchr(line, ':');
        if (strncmp(line, point, strlen(point)) != 0 || list == NULL)
            continue;
        for (char* at = list; (at = strstr(at, want)) != NULL; at++)
            if (at[strlen(want)] == ' ' || at[strlen(want)] == 0)
                return true;
    }
    return false;
}

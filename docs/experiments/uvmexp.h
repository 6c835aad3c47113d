// Shows which counters of the VM system (/proc/uvmexp) moved since the last time.
#pragma once

#include "../../vm/phys/uvmexp_table.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COUNTERS = 64 };

struct snapshot {
    char name[COUNTERS][32];
    long value[COUNTERS];
    int count;
    char shown[COUNTERS]; // of `meanings`
};

static struct snapshot before, after;

// What each counter counts.
static const struct {
    const char *name, *counts;
} meanings[] = {
#define X(name, counts) {#name, counts},
    UVMEXP_COUNTERS(X)
#undef X
};
enum { MEANINGS = sizeof meanings / sizeof *meanings };

// At the end, of the parent alone: children leave by _exit and exec. (To register it by atexit would
// write to a page more, which the figures of a fork would show.)
__attribute__((destructor)) static void explain(void) {
    printf("what they count\n");
    for (int i = 0; i < MEANINGS; i++)
        if (after.shown[i])
            printf("    %-18s %s\n", meanings[i].name, meanings[i].counts);
}

static void take(struct snapshot* s) {
    static char text[4096];
    int fd = open("/proc/uvmexp", O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0) {
        perror("/proc/uvmexp");
        exit(1);
    }
    close(fd);
    text[n] = '\0';
    s->count = 0;
    for (char* line = strtok(text, "\n"); line && s->count < COUNTERS; line = strtok(NULL, "\n"))
        s->count += sscanf(line, "%31s %ld", s->name[s->count], &s->value[s->count]) == 2;
}

static void show(const char* step) {
    take(&after);
    printf("%s\n   ", step);
    for (int i = 0; i < after.count; i++)
        if (after.value[i] != before.value[i]) {
            printf(" %s %ld", after.name[i], after.value[i] - before.value[i]);
            for (int k = 0; k < MEANINGS; k++)
                after.shown[k] |= strcmp(meanings[k].name, after.name[i]) == 0;
        }
    printf("\n");
    fflush(stdout);
    take(&before); // what printing cost is not the next step's
}

// The first of all: what reading the counters costs by itself is nothing. They are the whole
// system's: init has just forked to start this program, and its first writes, with which it passes
// on what is printed here, must be behind us.
static void begin(void) {
    take(&before);
    show("nothing (what reading the counters costs)");
    do {
        take(&before);
        usleep(10000);
        take(&after);
    } while (memcmp(before.value, after.value, sizeof before.value) != 0);
}

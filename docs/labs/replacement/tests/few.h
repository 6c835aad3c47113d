// few.h: a machine in which all programs together have so many page frames, a policy, and what they cost.
#pragma once
#include "../../lab.h"

#include <fcntl.h>

static inline void few_say(const char* file, const char* text) {
    int fd = open(file, O_WRONLY);
    lab_need(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), file);
    close(fd);
}

// The number behind a name in a file of /proc.
static inline uint64_t few_number(const char* file, const char* name) {
    static char text[16384];
    size_t have = 0;
    int fd = open(file, O_RDONLY);
    lab_need(fd >= 0, file);
    for (ssize_t n = 1; n > 0; have += (size_t)n) {
        n = read(fd, text + have, sizeof text - 1 - have);
        lab_need(n >= 0, file);
    }
    close(fd);
    text[have] = 0;
    for (char* line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, strlen(name)) == 0)
            return strtoull(line + strlen(name) + strspn(line + strlen(name), ": "), NULL, 10);
    }
    lab_need(0, name);
    return 0;
}

static inline uint64_t few_counter(const char* name) { return few_number("/proc/uvmexp", name); }

// Keeps all of the free memory but `frames` pages for the kernel.
static inline void few_keep(int frames) {
    char text[32];
    uint64_t free = few_number("/proc/meminfo", "MemFree");
    lab_need(free > (uint64_t)frames * 4, "memory is too small");
    snprintf(text, sizeof text, "%llu", (unsigned long long)(free - (uint64_t)frames * 4));
    few_say("/proc/sys/vm/min_free_kbytes", text);
}

// From now on pages go by `policy`, and `frames` is what there is. Everything else, down to the files of the root, has
// been put out before.
static inline void few(int frames, const char* policy) {
    alarm(0); // where instructions are counted, time flies while a disk works
    few_say("/proc/sys/vm/page_policy", "fifo");
    for (int round = 0; round < 2; round++) {
        few_keep(512);
        volatile uint64_t* at = lab_map(4096);
        lab_fill(at, 4096, 1, 0);
        munmap((void*)at, (size_t)4096 * LAB_PAGE);
    }
    few_say("/proc/sys/vm/page_policy", policy);
    few_keep(frames);
}

// The n-th page of so many in an order in which none stands beside its neighbour: pages that come together would hide
// what a policy does.
static inline size_t few_mixed(int n, int pages) { return (size_t)n * 1009 % (size_t)pages; }

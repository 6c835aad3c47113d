// explore.h: what a scenario of the explorer tells the kernel's recorder, and what it prints for
// the page to be checked against (docs/explorer.md).
#pragma once
#include "../lib/spork.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { PAGE = 4096 };

static int recording;

// Says a word to the recorder, if there is one. By system calls alone: a vfork child may do it.
static inline void record_say(const char* text) {
    int saved = errno;
    int fd = recording ? open("/proc/self/record", O_WRONLY | O_CLOEXEC) : -1;
    if (fd >= 0 && write(fd, text, strlen(text)) < 0)
        _exit(98);
    close(fd);
    errno = saved;
}

// A remark that the page shows as a step: what the program does next.
static inline void mark(const char* text) { record_say(text); }
// A new part of the run; `name` begins with a '#'. Scenarios that are compared agree in these
// names.
static inline void mark_phase(const char* name) { record_say(name); }

// The counters as the program itself reads them, before the recording's first snapshot and after
// its last. Nothing faults between the two looks at either end: the texts have been touched.
static struct {
    int fd;
    char before[8192], after[8192], calls[32768];
} counters = {-1, "touched", "touched", "touched"};

static inline void read_counters(char* text, size_t size) {
    ssize_t got = counters.fd < 0 ? 0 : pread(counters.fd, text, size - 1, 0);
    text[got > 0 ? got : 0] = 0;
}

static inline void read_calls(void) {
    int fd = open("/proc/self/ledger", O_RDONLY | O_CLOEXEC);
    size_t have = 0;
    for (ssize_t got = 1; fd >= 0 && got > 0; have += got > 0 ? (size_t)got : 0)
        got = read(fd, counters.calls + have, sizeof counters.calls - 1 - have);
    counters.calls[have] = 0;
    close(fd);
}

static inline void print_lines(const char* head, char* text) {
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;)
        if (*line != 0)
            printf("%s %s\n", head, line);
}

// The recording begins, of this process and the children that it makes from here on. Without a
// recorder the program runs all the same.
static inline void record_begin(void) {
    counters.fd = open("/proc/uvmexp", O_RDONLY | O_CLOEXEC);
    int fd = open("/proc/self/record", O_WRONLY | O_CLOEXEC);
    memset(counters.before, 1, sizeof counters.before);
    memset(counters.after, 1, sizeof counters.after);
    read_counters(counters.before, sizeof counters.before);
    recording = fd >= 0 && write(fd, "1", 1) == 1;
    close(fd);
}

// The recording ends; prints the counters and this process's ledger, for the page to be checked
// against.
static inline void record_end(void) {
    memset(counters.after, 1, sizeof counters.after); // of this side of a fork
    record_say("0");
    read_counters(counters.after, sizeof counters.after);
    read_calls();
    print_lines("ledger begin", counters.before);
    print_lines("ledger end", counters.after);
    print_lines("ledger calls", counters.calls);
}

// `pages` pages of private anonymous memory, each with a number in it.
static inline volatile char* touched_pages(size_t pages) {
    volatile char* memory =
        mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        _exit(97);
    for (size_t i = 0; i < pages; i++)
        memory[i * PAGE] = 1;
    return memory;
}

static inline int wait_for(pid_t child) {
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static char* const done_arguments[] = {"done", NULL};
static char* const no_environment[] = {NULL};

// What the scenarios execute: a program that ends at once.
static inline void execute_done(void) {
    execve("/explore/done", done_arguments, no_environment);
    _exit(127);
}

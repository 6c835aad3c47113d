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

static int recording, ledger_fd = -1;

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

// The recording begins, of this process and the children that it makes from here on. Without a
// recorder the program runs all the same.
static inline void record_begin(void) {
    ledger_fd = open("/proc/self/ledger", O_RDONLY | O_CLOEXEC);
    int fd = open("/proc/self/record", O_WRONLY | O_CLOEXEC);
    recording = fd >= 0 && write(fd, "1", 1) == 1;
    close(fd);
}

// The recording ends; prints the ledger as it is then, each line with the process before it.
static inline void record_end(void) {
    static char text[8192] = "touched"; // nothing faults between the last snapshot and the ledger
    record_say("0");
    ssize_t size = ledger_fd < 0 ? 0 : read(ledger_fd, text, sizeof text - 1);
    text[size > 0 ? size : 0] = 0;
    char* rest = text;
    for (char* line; (line = strsep(&rest, "\n")) != NULL;)
        if (*line != 0)
            printf("ledger %d %s\n", getpid(), line);
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

// Assertions and panic. ASSERT is always on; CHECK_ASSERT only in builds with run-time checks
// (SPORK_CHECKS, the default), for what is too dear for every build.
#pragma once

// Stops the machine (the process, on the host) after printing the message, a backtrace and
// the state of every CPU. printf-like: see lib/format.h for what the format may hold.
[[noreturn]] void panic(const char* format, ...) __attribute__((format(printf, 1, 2)));

#define ASSERT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) [[unlikely]]                                                             \
            panic("%s:%d: assertion failed: %s", __FILE__, __LINE__, #condition);                  \
    } while (0)

#if SPORK_CHECKS
#define CHECK_ASSERT(condition) ASSERT(condition)
#else
#define CHECK_ASSERT(condition) ((void)sizeof(!(condition)))
#endif

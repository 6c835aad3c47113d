// Memory and C-string functions. The declarations are the toolchain's; the kernel has memcpy,
// memmove, memset, memcmp, memchr, strlen, strnlen, strcmp, strncmp, strchr and strrchr
// (lib/string.cc): anything else that <string.h> declares does not link.
#pragma once

#include <string.h>

#include <cstddef>

// Copies `from` into `to[0..size)`, cut where it does not fit; always NUL-terminated (size > 0).
// Returns how many bytes were copied, without the NUL.
inline size_t copy_string(char* to, size_t size, const char* from) {
    size_t n = strnlen(from, size - 1);
    memcpy(to, from, n);
    to[n] = '\0';
    return n;
}

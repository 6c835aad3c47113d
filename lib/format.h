// printf-like formatting without allocation: %d %i %u %x %X %o %c %s %p %% with the flags
// `-0+ #`, width, precision (and `*`), and the length modifiers hh h l ll z t j.
#pragma once

#include <cstdarg>
#include <cstddef>

// As snprintf(3): writes at most `size` bytes including the NUL; returns the length that the
// whole text has.
int format_to(char* out, size_t size, const char* format, ...)
    __attribute__((format(printf, 3, 4)));
int vformat_to(char* out, size_t size, const char* format, va_list args)
    __attribute__((format(printf, 3, 0)));

// Calls `sink(text, length, context)` with successive pieces.
void vformat(void (*sink)(const char*, size_t, void*), void* context, const char* format,
             va_list args) __attribute__((format(printf, 3, 0)));

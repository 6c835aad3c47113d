// The memory functions that the compiler calls by itself, and a few string functions.
//
// Moves go by 8-byte words: under QEMU's instruction counting a `rep movsb` costs an instruction
// for each byte, a `rep movsq` one for each eight. What is left over at the end is moved as one
// word that overlaps the last whole one; it is loaded before the first store, which is what lets
// memmove share the code.
#if __STDC_HOSTED__ == 0

#include "lib/sanitize.h"

#include <cstddef>
#include <cstdint>

#if !defined(__clang__)
// Keeps the compiler from turning the loops of memset into a call of memset.
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif

namespace {

struct [[gnu::packed, gnu::may_alias]] word64 {
    uint64_t v;
};
struct [[gnu::packed, gnu::may_alias]] word32 {
    uint32_t v;
};
struct [[gnu::packed, gnu::may_alias]] word16 {
    uint16_t v;
};

template <class Word> auto load(const void* p) { return static_cast<const Word*>(p)->v; }
template <class Word> void store(void* p, uint64_t v) { static_cast<Word*>(p)->v = v; }

// Up to 15 bytes, overlapping or not: everything is loaded before anything is stored.
void move_small(char* to, const char* from, size_t n) {
    if (n >= 8) {
        uint64_t first = load<word64>(from), last = load<word64>(from + n - 8);
        store<word64>(to, first);
        store<word64>(to + n - 8, last);
    } else if (n >= 4) {
        uint32_t first = load<word32>(from), last = load<word32>(from + n - 4);
        store<word32>(to, first);
        store<word32>(to + n - 4, last);
    } else if (n >= 2) {
        uint16_t first = load<word16>(from), last = load<word16>(from + n - 2);
        store<word16>(to, first);
        store<word16>(to + n - 2, last);
    } else if (n == 1) {
        *to = *from;
    }
}

// At least 8 bytes, `to` below `from` or the two apart.
void move_up(char* to, const char* from, size_t n) {
    uint64_t last = load<word64>(from + n - 8);
    char* end = to + n - 8;
    size_t words = n / 8;
    asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
    store<word64>(end, last);
}

// At least 8 bytes, `to` above `from` and overlapping it. Not by a string instruction with the
// direction flag set: an interrupt handler would find it set.
void move_down(char* to, const char* from, size_t n) {
    uint64_t first = load<word64>(from);
    for (size_t i = n; i >= 8; i -= 8)
        store<word64>(to + i - 8, load<word64>(from + i - 8));
    store<word64>(to, first);
}

} // namespace

extern "C" {

void* memcpy(void* to, const void* from, size_t n) {
    sanitize_read(from, n);
    sanitize_write(to, n);
    if (n < 16)
        move_small(static_cast<char*>(to), static_cast<const char*>(from), n);
    else
        move_up(static_cast<char*>(to), static_cast<const char*>(from), n);
    return to;
}

void* memmove(void* to, const void* from, size_t n) {
    auto distance = reinterpret_cast<uintptr_t>(to) - reinterpret_cast<uintptr_t>(from);
    sanitize_read(from, n);
    sanitize_write(to, n);
    if (n < 16)
        move_small(static_cast<char*>(to), static_cast<const char*>(from), n);
    else if (distance >= n) // also when `to` lies below: the difference wraps round
        move_up(static_cast<char*>(to), static_cast<const char*>(from), n);
    else
        move_down(static_cast<char*>(to), static_cast<const char*>(from), n);
    return to;
}

void* memset(void* to, int byte, size_t n) {
    sanitize_write(to, n);
    auto* p = static_cast<unsigned char*>(to);
    if (n < 8) {
        for (size_t i = 0; i < n; i++)
            p[i] = static_cast<unsigned char>(byte);
        return to;
    }
    uint64_t pattern = uint64_t{0x0101'0101'0101'0101} * static_cast<unsigned char>(byte);
    unsigned char* end = p + n - 8;
    size_t words = n / 8;
    asm volatile("rep stosq" : "+D"(p), "+c"(words) : "a"(pattern) : "memory");
    store<word64>(end, pattern);
    return to;
}

int memcmp(const void* a, const void* b, size_t n) {
    auto* x = static_cast<const unsigned char*>(a);
    auto* y = static_cast<const unsigned char*>(b);
    while (n >= 8 && load<word64>(x) == load<word64>(y)) {
        x += 8;
        y += 8;
        n -= 8;
    }
    for (; n; x++, y++, n--)
        if (*x != *y)
            return *x < *y ? -1 : 1;
    return 0;
}

void* memchr(const void* memory, int byte, size_t n) {
    auto* p = static_cast<const unsigned char*>(memory);
    for (; n; p++, n--)
        if (*p == static_cast<unsigned char>(byte))
            return const_cast<unsigned char*>(p);
    return nullptr;
}

size_t strlen(const char* s) {
    const char* p = s;
    while (*p)
        p++;
    return static_cast<size_t>(p - s);
}

size_t strnlen(const char* s, size_t limit) {
    size_t n = 0;
    while (n < limit && s[n])
        n++;
    return n;
}

int strncmp(const char* a, const char* b, size_t n) {
    for (; n; a++, b++, n--) {
        auto x = static_cast<unsigned char>(*a), y = static_cast<unsigned char>(*b);
        if (x != y)
            return x < y ? -1 : 1;
        if (!x)
            break;
    }
    return 0;
}

int strcmp(const char* a, const char* b) { return strncmp(a, b, SIZE_MAX); }

char* strchr(const char* s, int c) {
    for (;; s++) {
        if (*s == static_cast<char>(c))
            return const_cast<char*>(s);
        if (!*s)
            return nullptr;
    }
}

char* strrchr(const char* s, int c) {
    const char* found = nullptr;
    for (;; s++) {
        if (*s == static_cast<char>(c))
            found = s;
        if (!*s)
            return const_cast<char*>(found);
    }
}

} // extern "C"

#endif // __STDC_HOSTED__ == 0

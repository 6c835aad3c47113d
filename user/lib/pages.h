// pages.h: memory of which each page says which it is, and in which round it was stored.
#pragma once
#include "proc.h"

#include <sys/mman.h>

enum { PAGE = 4096, WORDS = PAGE / sizeof(uint64_t), RW = PROT_READ | PROT_WRITE };

TAP_UNUSED static uint64_t* map_pages(size_t n, int flags) {
    uint64_t* at = mmap(NULL, n * PAGE, RW, flags | MAP_ANONYMOUS, -1, 0);
    need(at != MAP_FAILED);
    return at;
}

// The first and last word of a page.
TAP_UNUSED static void store_page(uint64_t* page, size_t i, uint64_t round) {
    page[0] = i * 1000 + round;
    page[WORDS - 1] = ~(i * 1000 + round);
}

TAP_UNUSED static bool is_page(const uint64_t* page, size_t i, uint64_t round) {
    return page[0] == i * 1000 + round && page[WORDS - 1] == ~(i * 1000 + round);
}

TAP_UNUSED static void store(uint64_t* at, size_t n, uint64_t round) {
    for (size_t i = 0; i < n; i++)
        store_page(at + i * WORDS, i, round);
}

TAP_UNUSED static size_t wrong(const uint64_t* at, size_t n, uint64_t round) {
    size_t bad = 0;
    for (size_t i = 0; i < n; i++)
        bad += !is_page(at + i * WORDS, i, round);
    return bad;
}

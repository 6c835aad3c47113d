// What the address sanitizer has to be told: which memory the allocators have handed out, and what
// assembly reads and writes. Nothing in the usual build. In the host build it is the compiler's
// sanitizer, in `make SANITIZE=address` the kernel's own (arch/x86_64/sanitize/address.cc).
#pragma once

#include <cstddef>

#if SPORK_SANITIZE_address

// [p, p + n) has an owner from now on; what follows it, up to p + room, is nobody's.
void sanitize_unpoison(void* p, size_t n, size_t room);
inline void sanitize_unpoison(void* p, size_t n) { sanitize_unpoison(p, n, n); }
// It is free: who touches it is told, with the calls that had it allocated and freed.
void sanitize_poison(void* p, size_t n);
void sanitize_read(const void* p, size_t n);
void sanitize_write(void* p, size_t n);
// Objects begin at multiples of this, and have at least that many bytes behind them that are nobody's.
inline constexpr size_t sanitize_granule = 64, sanitize_redzone = 16;

#else

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
inline void sanitize_unpoison(void* p, size_t n) { __asan_unpoison_memory_region(p, n); }
inline void sanitize_poison(void* p, size_t n) { __asan_poison_memory_region(p, n); }
#else
inline void sanitize_unpoison(void*, size_t) {}
inline void sanitize_poison(void*, size_t) {}
#endif
inline void sanitize_unpoison(void* p, size_t n, size_t) { sanitize_unpoison(p, n); }
inline void sanitize_read(const void*, size_t) {}
inline void sanitize_write(void*, size_t) {}
inline constexpr size_t sanitize_granule = 1, sanitize_redzone = 0;

#endif

// Whether what was freed last is to be handed out last, so that a use after free meets no new owner.
inline constexpr bool sanitize_delays_reuse = sanitize_redzone != 0;

// For a function that reads what is free on purpose.
#if defined(__SANITIZE_ADDRESS__)
#define NO_SANITIZE_ADDRESS [[gnu::no_sanitize_address, gnu::noipa]]
#else
#define NO_SANITIZE_ADDRESS
#endif

// Tells the address sanitizer of the host build which memory of the allocators is free; nothing
// in the kernel.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__) && __STDC_HOSTED__
#include <sanitizer/asan_interface.h>
inline void sanitize_poison(void* p, size_t n) { __asan_poison_memory_region(p, n); }
inline void sanitize_unpoison(void* p, size_t n) { __asan_unpoison_memory_region(p, n); }
#else
inline void sanitize_poison(void*, size_t) {}
inline void sanitize_unpoison(void*, size_t) {}
#endif

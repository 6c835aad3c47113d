// Room for one thread's floating-point and vector registers.
#pragma once

#include <cstddef>

struct alignas(64) fpu_area {
    static constexpr size_t size = 512 + 64 + 256; // FXSAVE's part, XSAVE's header, AVX
    // What saving leaves as it is: the end of FXSAVE's part, which is software's, and XSAVE's header,
    // which must be zero but for its first word.
    static constexpr size_t never_saved = 464, avx = 512 + 64;
    constexpr fpu_area() {
        for (size_t i = never_saved; i < avx; i++)
            bytes[i] = {};
    }
    std::byte bytes[size];
};

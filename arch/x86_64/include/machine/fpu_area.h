// Room for one thread's floating-point and vector registers.
#pragma once

#include <cstddef>

struct alignas(64) fpu_area {
    static constexpr size_t size = 512 + 64 + 256; // FXSAVE's part, XSAVE's header, AVX
    std::byte bytes[size] = {};
};

// ioctl(2) commands that many files know.
#pragma once

#include <cstdint>

enum : uint64_t {
    FIONREAD_ = 0x541b,
    FIONBIO_ = 0x5421,
    FIONCLEX_ = 0x5450,
    FIOCLEX_ = 0x5451,
};

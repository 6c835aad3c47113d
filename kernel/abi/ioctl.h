// ioctl(2) commands that many files know.
#pragma once

#include <cstdint>

namespace linux_abi {

enum : uint64_t {
    fionread = 0x541b,
    fionbio = 0x5421,
    fionclex = 0x5450,
    fioclex = 0x5451,
};

} // namespace linux_abi

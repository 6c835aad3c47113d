// ioctl(2) commands that many files know.
#pragma once

#include <cstdint>

namespace linux_abi {

enum : uint64_t {
    fionread = 0x541b,
    fionbio = 0x5421,
    fionclex = 0x5450,
    fioclex = 0x5451,
    // Of block devices.
    blkroget = 0x125e,
    blkgetsize = 0x1260,
    blkflsbuf = 0x1261,
    blksszget = 0x1268,
    blkpbszget = 0x127b,
    blkgetsize64 = 0x80081272,
};

} // namespace linux_abi

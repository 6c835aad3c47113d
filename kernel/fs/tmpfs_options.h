// What mount(2) can say about a tmpfs: its size, and its root.
#pragma once

#include "lib/result.h"

#include <cstdint>
#include <optional>

// How much a tmpfs may hold.
struct tmpfs_limits {
    static constexpr uint64_t unlimited = UINT64_MAX;
    uint64_t pages = unlimited, files = unlimited;

    // As many pages as are half of memory, and as many files.
    static tmpfs_limits usual();
};

struct tmpfs_options {
    // size=BYTES[k|m|g|...] or PERCENT%, nr_blocks=PAGES, nr_inodes=FILES; 0: unlimited.
    std::optional<uint64_t> pages{}, files{};
    std::optional<uint32_t> mode{}, uid{}, gid{};

    // From what mount(8) hands over, which is cut up: "size=1m,mode=755". EINVAL for whatever else
    // is said.
    static expected<tmpfs_options> parse(char* text);
};

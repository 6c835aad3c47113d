// Files without a name: pipes, event counters, memory files.
#pragma once

#include "lib/result.h"
#include "lib/types.h"

#include <cstdint>

struct linux_stat;

// An inode number that no other nameless file has had.
uint64_t anonymous_inode();
// The stat(2) of a nameless file that belongs to the caller. Times are `time`, or now.
void anonymous_stat(linux_stat& out, uint32_t mode, uint64_t inode = 0, uint64_t time = 0);

// What /proc tells of System V shared memory.
#pragma once

#include "lib/types.h"

#include <cstdint>

struct shm_facts {
    int32_t key, id;
    uint32_t mode; // permissions, SHM_DEST, SHM_LOCKED
    uint64_t size, attached, resident_pages;
    int32_t creator, last;
    uint32_t uid, gid, creator_uid, creator_gid;
    int64_t attach_time, detach_time, change_time; // seconds since 1970
};

// The segment at or after place `index` of the table: sets `index` to it. False when there is none.
bool shm_describe(unsigned& index, shm_facts& out);

// Sets the limit of all segments to half of memory: a segment outlives its processes, and so is out
// of the out-of-memory killer's reach.
void shm_init();

// The limits of /proc/sys/kernel: bytes of a segment, pages of all segments, segments.
enum class shm_limit : uint8_t { max, all, count };
uint64_t shm_get_limit(shm_limit which);
void shm_set_limit(shm_limit which, uint64_t value);
// The most that `count` can be set to.
inline constexpr unsigned shm_table_size = 4096;

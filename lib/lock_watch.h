// Where a thread is about to take a lock: tests can stop it there (kernel/process/sync_point.h).
#pragma once

#include "lib/lock_rank.h"

#include <atomic>

#if SPORK_CHECKS && !defined(SPORK_HOST)
extern std::atomic<bool> locks_watched;
void lock_wanted(lock_rank rank);
inline void about_to_lock(lock_rank rank) {
    if (locks_watched.load(std::memory_order_relaxed)) [[unlikely]]
        lock_wanted(rank);
}
#else
inline void about_to_lock(lock_rank) {}
#endif

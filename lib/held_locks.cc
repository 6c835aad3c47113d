// Which locks are held, and whether taking a further one keeps the order of lib/lock_rank.h.
#include "lib/assert.h"
#include "lib/lock.h"

#include <algorithm>

const held_locks::entry* held_locks::conflict(lock_rank rank) const {
    for (unsigned i = count; i-- > 0;)
        if (entries[i].rank >= rank)
            return &entries[i];
    return nullptr;
}

void held_locks::refuse(const char* name, lock_rank rank) const {
    if (count == capacity)
        panic("lock order: %u locks held when %s is taken", count, name);
    const entry* held = conflict(rank);
    panic("lock order: %s (rank %u) wanted while %s (rank %u) is held", name, unsigned(rank),
          held->name, unsigned(held->rank));
}

// Not the one taken last.
void held_locks::pop_from_below(const void* lock) {
    unsigned i = 0;
    while (i < count && entries[i].lock != lock)
        i++;
    if (i == count)
        panic("lock order: a lock is released that is not held");
    count--;
    lock_rank highest = i ? entries[i - 1].highest : lock_rank::none;
    for (; i < count; i++) {
        entries[i] = entries[i + 1];
        highest = std::max(highest, entries[i].rank);
        entries[i].highest = highest;
    }
}

bool held_locks::holds(const void* lock) const {
    for (unsigned i = 0; i < count; i++)
        if (entries[i].lock == lock)
            return true;
    return false;
}

// Which locks are held, and whether taking a further one keeps the order of lib/lock_rank.h.
#include "lib/assert.h"
#include "lib/lock.h"

const held_locks::entry* held_locks::conflict(lock_rank rank) const {
    for (unsigned i = count; i-- > 0;)
        if (entries[i].rank >= rank)
            return &entries[i];
    return nullptr;
}

void held_locks::push(const void* lock, const char* name, lock_rank rank, bool nested) {
    if (!nested)
        if (const entry* held = conflict(rank)) [[unlikely]]
            panic("lock order: %s (rank %u) wanted while %s (rank %u) is held", name,
                  unsigned(rank), held->name, unsigned(held->rank));
    if (count == capacity) [[unlikely]]
        panic("lock order: %u locks held when %s is taken", count, name);
    entries[count++] = {lock, name, rank};
}

void held_locks::pop(const void* lock) {
    // Almost always the one taken last.
    for (unsigned i = count; i-- > 0;) {
        if (entries[i].lock != lock)
            continue;
        for (count--; i < count; i++)
            entries[i] = entries[i + 1];
        return;
    }
    panic("lock order: a lock is released that is not held");
}

bool held_locks::holds(const void* lock) const {
    for (unsigned i = 0; i < count; i++)
        if (entries[i].lock == lock)
            return true;
    return false;
}

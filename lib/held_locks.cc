// Which locks are held, and whether taking a further one keeps the order of lib/lock_rank.h.
#include "arch/cpu.h"
#include "lib/assert.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"

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

#if SPORK_CHECKS
// ---- The ends of objects: lib/ref_ptr.h -------------------------------------------------------

// Sleep locks come before all spin locks: they forbid no spin lock's rank, and a held spin lock
// forbids all of theirs.
void assert_may_end(lock_rank lowest) {
    const held_locks& spin = cpu_held_locks();
    const held_locks& held = spin.count != 0 || is_spin_rank(lowest) ? spin : thread_held_locks();
    if (held.count != 0 && held.entries[held.count - 1].highest >= lowest) [[unlikely]]
        panic("a reference is dropped while %s (rank %u) is held: the object's end may take a lock "
              "of rank %u",
              held.conflict(lowest)->name, unsigned(held.conflict(lowest)->rank), unsigned(lowest));
}

// As if a lock of the rank just before were held.
end_of_object::end_of_object(lock_rank lowest) : spins_(is_spin_rank(lowest)) {
    if (spins_)
        cpu::interrupts_push_off();
    (spins_ ? cpu_held_locks() : thread_held_locks())
        .push(this, "the end of an object", lock_rank(unsigned(lowest) - 1), true);
}

end_of_object::~end_of_object() {
    (spins_ ? cpu_held_locks() : thread_held_locks()).pop(this);
    if (spins_)
        cpu::interrupts_pop_off();
}
#endif

// snapshot_mark: what a snapshot (vm/observe/vm_snapshot.h) notes in a structure that several
// processes may reference: that it has been written this time, and what the recorder last wrote of
// it.
//
// Only touched while the machine stands still.
#pragma once

#include <cstdint>

struct snapshot_mark {
    uint64_t round = 0; // the number of the snapshot that wrote it last
    uint64_t hash = 0;  // of the text that the recorder wrote last; 0: none

    // Whether this is the first time in that round.
    bool first_in(uint64_t number) {
        bool first = round != number;
        round = number;
        return first;
    }
};

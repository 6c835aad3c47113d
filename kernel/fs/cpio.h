// cpio archives in the "newc" format, as the boot loader hands over the initial tree.
#pragma once

#include "kernel/files/vnode.h"

struct cpio_statistics {
    unsigned entries = 0;
    uint64_t bytes = 0;
    bool damaged =
        false; // it ended in the middle of an entry, or something else than an archive followed
};

// Who has the memory of an archive that is read once, and wants it back on the way.
class cpio_memory {
public:
    // What lies before `end` is not looked at again. `end` never goes back. Does not sleep.
    virtual void read_until(const char* end) = 0;

protected:
    ~cpio_memory() = default;
};

// Whether it begins as an archive does (zero bytes may come first).
bool cpio_recognised(std::string_view archive);
// Unpacks into `root`. Several archives may follow one another with zero bytes in between; what a
// later one has replaces what an earlier one made. Directories that are missing on the way are
// made. `memory`, if any, is told how far it has got. Only ENOMEM fails.
expected<cpio_statistics> cpio_unpack(std::string_view archive, ref_ptr<vnode> root,
                                      cpio_memory* memory = nullptr);

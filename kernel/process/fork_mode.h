// How a process's fork and vfork make the child's address space: the choices that history made.
//
//      fork    copy      every page is copied at once (the first Unix)
//              cow       pages are copied when somebody writes to them (Mach, 4.4BSD); the default
//              cow+pte   and the child begins with its parent's page tables
//      vfork   share     the child borrows its parent's address space (3.0BSD, NetBSD); the default
//              cow       a fork in mode cow whose parent waits (4.4BSD)
//              fork      a fork in fork's mode whose parent waits (a Unix without vfork, whose
//                        programs were compiled with -Dvfork=fork)
//
// Who decides. A process may have a mode of its own, from spork_forkmode(2); a child inherits it,
// and exec keeps it. A process without one does at each fork what the system-wide default then
// says, which is /proc/sys/kernel/fork_mode and vfork_mode. So `echo copy
// >/proc/sys/kernel/fork_mode` at a shell puts the shell and everything that it runs from then on,
// unmodified programs too, under that mode.
#pragma once

#include "lib/result.h"

#include <atomic>
#include <string_view>

enum class fork_mode : uint8_t; // vm/vmspace.h
enum class vfork_mode : uint8_t { share, cow, fork };

// A process's own modes. Numbers as in spork_forkmode(2): 0 is none of its own, else one more than
// the enumeration's. Any thread of the process may change them; a fork reads each once.
class own_fork_modes {
public:
    fork_mode for_fork() const;   // its own, or the default of this moment
    vfork_mode for_vfork() const; // likewise
    // What a child begins with.
    void inherit(const own_fork_modes& parent);

    static constexpr int unchanged = -1;
    // Changes one or both; returns what they were, fork's number and vfork's times 256. EINVAL for
    // a number that is no mode, and nothing has changed.
    expected<int> change(int fork_number, int vfork_number);

private:
    std::atomic<uint8_t> fork_{0}, vfork_{0};
};

const char* fork_mode_name(fork_mode mode); // as above

// The defaults, by the names above. EINVAL for another name. Any context.
const char* fork_mode_default_name();
status fork_mode_set_default(std::string_view name);
const char* vfork_mode_default_name();
status vfork_mode_set_default(std::string_view name);

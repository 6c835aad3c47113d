// pidfds: descriptors that stand for a process, whatever becomes of its pid (CLONE_PIDFD,
// pidfd_open).
#pragma once

#include "kernel/files/file.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"

struct process;

// A file that stands for `p`: poll says POLLIN once the process has ended. It keeps the structure,
// not the pid: after wait it stands for nobody. `flags`: O_NONBLOCK, which waitid heeds. ENOMEM.
expected<ref_ptr<file>> pidfd_create(ref_ptr<process> p, uint32_t flags);

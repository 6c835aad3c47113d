// devpts: the file system on /dev/pts, whose names are the numbers of the pseudo-terminals that have
// a master (kernel/tty/pty.h). There is one of it.
#pragma once

#include "kernel/files/vnode.h"

file_system& devpts();
// A new pseudo-terminal: its master. `ptmx`: what was opened. As pty::create(), pty::open_master().
expected<ref_ptr<file>> devpts_open_master(vnode& ptmx, uint32_t flags);

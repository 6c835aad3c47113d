// The kernel's threads that files on disks need: the page daemon, which frees their pages, and the
// syncer, which writes what has been dirty for half a minute.
#pragma once

#include "lib/result.h"

// Starts them, once: from then on memory is kept free for the kernel (vm/uvm_pdaemon.h). ENOMEM.
status start_file_daemons();
// The page daemon alone: what swap needs.
status start_page_daemon();

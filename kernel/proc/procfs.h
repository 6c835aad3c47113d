// procfs: the kernel's state as files. Nodes are made by each look-up and hold nothing but what
// they are about; a text is generated when reading begins at its start.
#pragma once

#include "kernel/files/vnode.h"

class text_buffer;

// ENOMEM.
expected<file_system*> procfs_create();

// The file that afork gives: it tells when the child has let go of the address space, and with it
// of its stack.
#pragma once

#include "kernel/files/file.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"

struct vfork_wait;

// `flags`: O_NONBLOCK. ENOMEM.
//
// poll: POLLIN from the release on. read: an afork_record (kernel/lifecycle/vfork_wait.h), after a wait
// for the release; EAGAIN in place of the wait with O_NONBLOCK, EINVAL for a buffer that is too
// short. Each read gives the record again: it is a fact, not a message, and whoever has a duplicate
// of the descriptor may learn it too.
expected<ref_ptr<file>> afork_file_create(ref_ptr<vfork_wait> child, uint32_t flags);

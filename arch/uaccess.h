// Access to the memory of the running program. Nothing else in the kernel dereferences a user
// address: with SMAP a slip is a panic. A fault inside is first handled as the program's own
// would be (COW, zero fill); if that cannot be, the call returns EFAULT. May sleep; no spin lock
// may be held. Ranges that leave the user half are EFAULT before anything is read.
#pragma once

#include "lib/result.h"
#include "lib/types.h"

#include <cstdint>

status copy_in(void* to, vaddr_t from, size_t size);
status copy_out(vaddr_t to, const void* from, size_t size);
status zero_out(vaddr_t to, size_t size);
// Whether the calling CPU may reach user memory by any instruction: only within the above.
bool user_memory_is_open();
// As copy_in and copy_out, but say how much was copied before the fault (0..size).
size_t copy_in_partial(void* to, vaddr_t from, size_t size);
size_t copy_out_partial(vaddr_t to, const void* from, size_t size);
// Copies a NUL-terminated string with its NUL, at most `size` bytes. Returns the length without
// the NUL; EFAULT; ENAMETOOLONG when there is no NUL in `size` bytes.
expected<size_t> copy_in_string(char* to, vaddr_t from, size_t size);

// Atomic operations on a 4-byte aligned user word, for futexes. They do not sleep and may be called
// with a spin lock held: a page that is not resident (or not writable) gives EAGAIN: the caller
// then drops its locks, touches the word with copy_in/copy_out, and tries again. EFAULT for a
// kernel address.
expected<uint32_t> user_load(vaddr_t word);
// Returns the value seen; it was replaced if that equals `expect`.
expected<uint32_t> user_compare_exchange(vaddr_t word, uint32_t expect, uint32_t desired);

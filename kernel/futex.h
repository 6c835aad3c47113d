// Futexes: see kernel/futex.cc.
#pragma once

struct thread;

// What a thread that ends, or that executes another program, still owes in its address space: the words
// of its robust list get FUTEX_OWNER_DIED, the word of CLONE_CHILD_CLEARTID is zeroed, and their waiters wake.
// May sleep.
void futex_thread_exit(thread& self);

// System calls: one declaration per call in kernel/abi/syscalls.def gives the handler's
// prototype, its entry in the dispatch table and its line in strace.
//
// A handler is `sysresult sys_NAME(arguments...)` in the file of its subject. It runs in the
// calling thread with interrupts on, may sleep, and returns a value or an Errno.
#pragma once

#include "kernel/abi/arguments.h"

#define SYSCALL(number, name, ...) sysresult sys_##name(__VA_ARGS__);
#include "kernel/abi/syscalls.def"
#undef SYSCALL

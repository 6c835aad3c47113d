// There is no network and there are no local sockets: socket(2) says so in the words that
// name-service look-ups and loggers expect, and they go on without.
#include "kernel/abi/syscalls.h"

sysresult sys_socket(int32_t, sys_hex, int32_t) { return fail(Errno::afnosupport); }

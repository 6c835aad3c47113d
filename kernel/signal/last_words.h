// What the log says of a program that dies by a fault of its own: Linux's "segfault at", with what
// lay there.
#pragma once

#include "kernel/abi/signal.h"

struct thread;
struct trap_frame;

// The running thread, which was at `frame`, caused the signal, and it ends the process. A line in
// the log, unless there were many of late. May sleep.
void last_words(thread& self, const trap_frame& frame, const linux_siginfo& info);

// The kernel's own threads: they belong to kernel_process().
#pragma once

#include "kernel/process/thread.h"

// `entry` returns to end the thread. ENOMEM.
expected<ref_ptr<thread>> kernel_thread_start(const char* name, void (*entry)(void*),
                                              void* argument);
// Pins a kernel thread to one CPU before it first runs.
expected<ref_ptr<thread>> kernel_thread_start_on(unsigned cpu, const char* name,
                                                 void (*entry)(void*), void* argument);
// Waits until it has ended.
void kernel_thread_join(thread& t);
// Ends the running kernel thread, as returning from its entry does.
[[noreturn]] void kernel_thread_exit();

// Executing a program: execve, execveat, and the kernel's start of init.
#pragma once

#include "kernel/lifecycle/exec_strings.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"

class vnode;
struct process;

// Replaces the running process's program. `budget` is what is left of exec_argument_limit(). On
// success, the user frame of the running thread is the new program's first. An error means that the
// process is as it was, unless it has passed the point of no return: then it has got a fatal
// SIGSEGV besides.
status exec_program(int at_fd, const char* path, int at_flags, exec_strings& arguments,
                    exec_strings& environment, uint64_t& budget);

// Bytes that arguments and environment may take, for the running process.
uint64_t exec_argument_limit();

// What /proc/PID/exe shows. The file cannot be opened for writing while it is some process's
// program (ETXTBSY): the caller has write access denied already (exec_file, or the parent's
// program). Null when the process ends.
void process_set_executable(process& p, ref_ptr<vnode> node);

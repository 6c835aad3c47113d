// afork.h: an asynchronous vfork, and a popen that returns before its child has run.
//
//     static int child(void *arg)
//     {
//         afork_raw(SYS_execve, path, argv, environ);
//         return 127;
//     }
//     ...
//     int fd = afork(stack, sizeof stack, child, NULL, AFORK_CLOEXEC, &pid);
//     ...                              // the child runs meanwhile, in this memory
//     read(fd, &record, sizeof record) // now it has let go: by exec, exit or death
//     close(fd);                       // earlier is all right, too
//     waitpid(pid, &status, 0);
//
// The child has the parent's memory, and its thread pointer, while the parent runs. It may call
// what touches neither errno nor locks nor buffers: its own code, and afork_raw.
#pragma once
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/types.h>

enum { AFORK_CLOEXEC = O_CLOEXEC, AFORK_NONBLOCK = O_NONBLOCK };
enum { AFORK_EXEC = 1, AFORK_EXIT, AFORK_KILLED };

// What a read of the descriptor gives.
struct afork_record {
    int32_t pid;
    int32_t what;   // AFORK_EXEC, AFORK_EXIT, AFORK_KILLED
    int32_t status; // the exit code or the signal; 0 for exec
    int32_t reserved;
};

// Starts fn(arg) in a child, on [stack, stack + size); what fn returns is its exit code. Stores the
// child's pid unless `pid` is null. Returns the descriptor, or -1 with errno: EINVAL (flags, a
// stack under 2 KiB), EFAULT, EAGAIN, ENOMEM, EMFILE.
int afork(void* stack, size_t size, int (*fn)(void*), void* arg, int flags, pid_t* pid);

// A system call for a child of afork: leaves errno alone and returns -errno.
static inline long afork_call(long number, long a, long b, long c) {
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
}
#define afork_raw(number, a, b, c) afork_call(number, (long)(a), (long)(b), (long)(c))

// A program at the other end of a pipe.
struct afork_popen {
    FILE* stream; // what it prints, or where what it reads is written
    pid_t pid;
    int released; // afork's descriptor
    // The child's.
    const char* path;
    char* const* argv;
    int child_end;
    int becomes; // standard input or output
    void* stack;
    volatile int error; // what exec failed with
};

// Starts `path` with `argv`; `mode` is "r" to read what it prints or "w" to write what it reads.
// Returns before the child has run: that the program cannot be executed shows at the pipe, as end
// of file or EPIPE, and its reason at afork_pclose. Null with errno when no child could be made.
struct afork_popen* afork_popen(const char* path, char* const argv[], const char* mode);

// Closes the stream, waits for the program and frees `p`. Returns its wait status; -1 with errno
// when it could not be executed.
int afork_pclose(struct afork_popen* p);

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "afork.h"

#include "spork.h"

#include <sys/mman.h>
#include <sys/wait.h>

extern char** environ;

// Where the child begins: the address of {fn, arg} is in rdi. The stack pointer is as after a call.
__asm__(".text\n"
        ".type afork_start, @function\n"
        "afork_start:\n\t"
        "xor %ebp, %ebp\n\t" // its first frame
        "sub $8, %rsp\n\t"
        "mov (%rdi), %rax\n\t"
        "mov 8(%rdi), %rdi\n\t"
        "call *%rax\n\t"
        "mov %eax, %edi\n\t"
        "mov $231, %eax\n\t" // exit_group
        "syscall\n\t"
        "hlt\n"
        ".size afork_start, . - afork_start\n");
void afork_start(void) __attribute__((visibility("hidden")));

int afork(void* stack, size_t size, int (*fn)(void*), void* arg, int flags, pid_t* pid) {
    struct start {
        int (*fn)(void*);
        void* arg;
    };
    if (stack == NULL || size < sizeof(struct start) + 16) {
        errno = EINVAL;
        return -1;
    }
    // The start lies at the top of the child's own stack: it lives as long as the child needs it.
    uintptr_t top = ((uintptr_t)stack + size) & ~(uintptr_t)15;
    struct start* start = (struct start*)top - 1;
    *start = (struct start){fn, arg};
    return (int)syscall(SYS_afork, stack, (uintptr_t)start - (uintptr_t)stack, afork_start, start,
                        flags, pid);
}

enum { POPEN_STACK = 16384 };

static int popen_child(void* arg) {
    struct afork_popen* p = arg;
    long result = p->child_end;
    if (p->child_end != p->becomes)
        result = afork_raw(SYS_dup2, p->child_end, p->becomes, 0);
    else
        result = afork_raw(SYS_fcntl, p->child_end, F_SETFD, 0);
    if (result >= 0)
        result = afork_raw(SYS_execve, p->path, p->argv, environ);
    p->error = (int)-result;
    return 127;
}

struct afork_popen* afork_popen(const char* path, char* const argv[], const char* mode) {
    const int reads = mode[0] == 'r'; // which end of the pipe is the parent's
    int ends[2] = {-1, -1};
    struct afork_popen* p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->path = path;
    p->argv = argv;
    p->becomes = reads ? STDOUT_FILENO : STDIN_FILENO;
    p->stack = mmap(NULL, POPEN_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p->stack == MAP_FAILED)
        goto no_stack;
    if (pipe2(ends, O_CLOEXEC) != 0)
        goto no_pipe;
    p->child_end = ends[reads];
    p->stream = fdopen(ends[!reads], reads ? "re" : "we");
    if (p->stream == NULL)
        goto no_stream;
    p->released = afork(p->stack, POPEN_STACK, popen_child, p, AFORK_CLOEXEC, &p->pid);
    if (p->released < 0)
        goto no_child;
    close(ends[reads]); // the child has its own
    return p;

no_child:;
    int error = errno;
    fclose(p->stream);
    close(ends[reads]);
    errno = error;
    goto no_pipe;
no_stream:
    close(ends[0]);
    close(ends[1]);
no_pipe:
    munmap(p->stack, POPEN_STACK);
no_stack:
    free(p);
    return NULL;
}

int afork_pclose(struct afork_popen* p) {
    struct afork_record record;
    int status = -1;
    fclose(p->stream);
    // Until then `p` and the stack are the child's, too.
    while (read(p->released, &record, sizeof record) < 0 && errno == EINTR)
        continue;
    close(p->released);
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    const int error = p->error;
    munmap(p->stack, POPEN_STACK);
    free(p);
    if (error != 0) {
        errno = error;
        return -1;
    }
    return status;
}

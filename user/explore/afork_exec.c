// afork_exec: afork, and exec in the child: a vfork that nobody waits in. The child has a stack of
// its own in the parent's address space, and the parent goes on at once.
#include "../lib/afork.h"
#include "explore.h"

static char stack[4 * PAGE] __attribute__((aligned(4096)));

static int child(void* arg) {
    static const char phase[] = "#exec";
    long fd = recording ? afork_raw(SYS_open, "/proc/self/record", O_WRONLY | O_CLOEXEC, 0) : -1;
    afork_raw(SYS_write, fd, phase, sizeof phase - 1);
    afork_raw(SYS_close, fd, 0, 0);
    afork_raw(SYS_execve, "/explore/done", done_arguments, no_environment);
    return 127;
}

int main(void) {
    volatile char* buffer = touched_pages(8);
    struct afork_record record;
    record_begin();

    mark_phase("#create");
    pid_t pid = -1;
    int fd = afork(stack, sizeof stack, child, NULL, AFORK_CLOEXEC, &pid);
    mark("parent: afork has returned; the child may not even have run");
    buffer[0] = 'p';
    if (fd < 0 || read(fd, &record, sizeof record) != sizeof record)
        return 1;
    mark("parent: the child has let go of this address space, says the descriptor");
    int status = wait_for(pid);
    mark_phase("#parent writes");
    for (size_t i = 0; i < 4; i++)
        buffer[i * PAGE] = 'p';
    record_end();
    return status;
}

// overwrite: after a fork the parent writes to a page, which the child then reads, and the child to
// another one, which the parent reads. Each finds what was there at the fork; on a kernel that
// shares what it should copy, the other's store. The child has a stack of its own (clone's second
// argument), so that on such a kernel the two do not overwrite each other's frames.
#include "../lib/clone.h"
#include "explore.h"

static char stack[2 * PAGE] __attribute__((aligned(PAGE)));
static volatile char* buffer;
static int to_parent[2], to_child[2];

static void give_turn(int to[2]) {
    if (write(to[1], "", 1) != 1)
        _exit(1);
}
static void await_turn(int from[2]) {
    char byte;
    if (read(from[0], &byte, 1) != 1)
        _exit(1);
}

static int child(void* unused) {
    (void)unused;
    await_turn(to_child);
    mark_phase("#child reads");
    mark(buffer[3 * PAGE] == 1 ? "child: finds 1 in buffer[3 * PAGE], as it was at the fork"
                               : "child: finds 'p' in buffer[3 * PAGE]: the parent's store!");
    mark_phase("#child writes");
    mark("child: buffer[5 * PAGE] = 'c'");
    buffer[5 * PAGE] = 'c';
    give_turn(to_parent);
    return 0;
}

int main(void) {
    buffer = touched_pages(8);
    stack[0] = 1;
    if (pipe(to_parent) != 0 || pipe(to_child) != 0)
        return 1;
    spork_forkmode(FORK_COW, MODE_UNCHANGED);
    record_begin();

    mark_phase("#create");
    pid_t pid = (pid_t)clone_call(SIGCHLD, stack + sizeof stack, child, NULL);
    mark_phase("#parent writes");
    mark("parent: buffer[3 * PAGE] = 'p'");
    buffer[3 * PAGE] = 'p';
    give_turn(to_child);
    await_turn(to_parent);
    mark_phase("#parent reads");
    mark(buffer[5 * PAGE] == 1 ? "parent: finds 1 in buffer[5 * PAGE], as it was at the fork"
                               : "parent: finds 'c' in buffer[5 * PAGE]: the child's store!");
    int status = wait_for(pid);
    record_end();
    return status;
}

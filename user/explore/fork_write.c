// fork_write [PAGES]: the child of a fork writes to one page of many; then the parent writes.
#include "explore.h"

static void give_turn(int to[2]) {
    if (write(to[1], "", 1) != 1)
        _exit(1);
}
static void await_turn(int from[2]) {
    char byte;
    if (read(from[0], &byte, 1) != 1)
        _exit(1);
}

int main(int count, char** arguments) {
    size_t pages = count > 1 ? (size_t)atol(arguments[1]) : 8;
    volatile char* buffer = touched_pages(pages);
    int to_parent[2], to_child[2];
    if (pipe(to_parent) != 0 || pipe(to_child) != 0)
        return 1;
    record_begin();

    mark_phase("#create");
    pid_t child = fork();
    if (child == 0) {
        close(to_child[1]);
        mark_phase("#child writes");
        mark("child: buffer[3 * PAGE] = 'c'");
        buffer[3 * PAGE] = 'c';
        give_turn(to_parent);
        await_turn(to_child);
        mark_phase("#exit");
        _exit(buffer[3 * PAGE] == 'c' ? 0 : 1);
    }
    close(to_parent[1]);
    await_turn(to_parent);
    mark_phase("#parent writes");
    mark("parent: buffer[3 * PAGE] = 'p'; the child has a copy of this page");
    buffer[3 * PAGE] = 'p';
    mark("parent: buffer[5 * PAGE] = 'p'; both still share this page");
    buffer[5 * PAGE] = 'p';
    give_turn(to_child);
    int status = wait_for(child);
    record_end();
    return status != 0 || buffer[3 * PAGE] != 'p';
}

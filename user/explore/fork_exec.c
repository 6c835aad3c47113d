// fork_exec [PAGES]: fork, and exec in the child. Afterwards the parent writes to its pages: the
// faults that the fork has left it.
#include "explore.h"

int main(int count, char** arguments) {
    size_t pages = count > 1 ? (size_t)atol(arguments[1]) : 8;
    volatile char* buffer = touched_pages(pages);
    record_begin();

    mark_phase("#create");
    pid_t child = fork();
    if (child == 0) {
        mark_phase("#exec");
        execute_done();
    }
    int status = wait_for(child);
    mark_phase("#parent writes");
    for (size_t i = 0; i < 4; i++)
        buffer[i * PAGE] = 'p';
    record_end();
    return status;
}

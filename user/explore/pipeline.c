// pipeline: what a shell does for `producer | consumer`: two forks with a pipe between the
// children. Three processes share the parent's pages, until the children write to some of them. The
// producer waits for the consumer's byte, so that all three are there at a time.
#include "explore.h"

int main(void) {
    volatile char* buffer = touched_pages(8);
    int data[2], ready[2];
    if (pipe(data) != 0 || pipe(ready) != 0)
        return 1;
    record_begin();

    char byte;
    mark_phase("#first fork");
    pid_t producer = fork();
    if (producer == 0) {
        close(ready[1]);
        buffer[0] = 'p';
        _exit(read(ready[0], &byte, 1) == 1 && write(data[1], "", 1) == 1 ? 0 : 1);
    }
    mark_phase("#second fork");
    pid_t consumer = fork();
    if (consumer == 0) {
        close(data[1]);
        mark_phase("#consumer writes");
        buffer[1 * PAGE] = 'c';
        mark("consumer: has a copy of buffer[1 * PAGE]; others of these pages are everybody's");
        _exit(write(ready[1], "", 1) == 1 && read(data[0], &byte, 1) == 1 ? 0 : 1);
    }
    close(data[0]);
    close(data[1]);
    mark_phase("#wait");
    int status = wait_for(producer);
    status |= wait_for(consumer);
    record_end();
    return status != 0 || buffer[0] != 1 || buffer[1 * PAGE] != 1;
}

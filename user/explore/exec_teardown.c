// exec_teardown: a process with memory of several kinds executes another program: what exec throws
// away, and what it keeps.
#include "explore.h"

int main(void) {
    volatile char* buffer = touched_pages(8);
    volatile char* shared =
        mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    shared[0] = buffer[0];
    mlock((const void*)buffer, PAGE);
    record_begin();
    mark_phase("#exec");
    execute_done();
}

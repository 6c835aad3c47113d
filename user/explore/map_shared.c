// map_shared: two pages that are mapped MAP_SHARED, and two private ones. After fork the child
// writes to one of each: the parent finds the one store and not the other.
#include "explore.h"

int main(void) {
    volatile char* private = touched_pages(2);
    volatile char* shared =
        mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    shared[0] = shared[PAGE] = 1;
    record_begin();

    mark_phase("#create");
    pid_t child = fork();
    if (child == 0) {
        mark_phase("#child writes");
        mark("child: shared[0] = 'c'; no copy, the parent will find it");
        shared[0] = 'c';
        mark("child: private[0] = 'c'; a copy, the parent keeps its own");
        private[0] = 'c';
        mark_phase("#exit");
        _exit(0);
    }
    int status = wait_for(child);
    mark_phase("#parent reads");
    int seen = shared[0] == 'c' && private[0] == 1;
    mark(seen ? "parent: finds 'c' in shared[0], and 1 in private[0]"
              : "parent: finds what it should not");
    record_end();
    return status != 0 || !seen;
}

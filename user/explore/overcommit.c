// overcommit: strict accounting (vm.overcommit_memory = 2), and a parent with more than half of
// what the limit leaves. Fork must promise the child as much again, and fails; vfork promises
// nothing.
#include "../lib/overcommit.h"
#include "explore.h"

int main(void) {
    size_t pages = (size_t)commit_room_kb() * 1024 / PAGE / 10 * 6;
    volatile char* big =
        mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (big == MAP_FAILED || !set_overcommit_mode("2"))
        return 1;
    big[0] = 1;
    record_begin();

    mark_phase("#fork");
    mark("parent: fork, with 60 per cent of what may be promised");
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    int refused = child < 0 && errno == ENOMEM;
    mark(refused ? "parent: fork has failed: ENOMEM, and nothing has changed"
                 : "parent: fork has not failed");
    mark_phase("#vfork");
    mark("parent: vfork; its child is promised nothing");
    child = vfork();
    if (child == 0)
        _exit(0);
    int status = wait_for(child);
    record_end();
    set_overcommit_mode("0");
    return status != 0 || !refused;
}

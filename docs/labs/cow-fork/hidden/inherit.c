// A child that shares the memory by inheritance writes to it, after another child has got a copy.
#include "../../../../user/lib/spork.h"
#include "../../lab.h"

enum { PAGES = 64, WRITTEN = 32 };

int main(int argc, char** argv) {
    const uint64_t seed = lab_seed(argc, argv);
    volatile uint64_t* at = lab_map(PAGES);
    int go[2], written[2];
    char byte = 0;
    lab_need(pipe(go) == 0 && pipe(written) == 0, "pipe");
    lab_fill(at, PAGES, seed, 0);
    lab_need(spork_minherit((void*)at, PAGES * LAB_PAGE, INHERIT_SHARE) == 0, "minherit");
    pid_t sharer = fork();
    lab_need(sharer >= 0, "fork");
    if (sharer == 0) {
        lab_need(read(go[0], &byte, 1) == 1, "read");
        lab_fill(at, WRITTEN, seed, 1);
        lab_need(write(written[1], &byte, 1) == 1, "write");
        _exit(0);
    }
    lab_need(spork_minherit((void*)at, PAGES * LAB_PAGE, INHERIT_COPY) == 0, "minherit");
    pid_t child = fork();
    lab_need(child >= 0, "fork");
    if (child == 0) {
        lab_need(write(go[1], &byte, 1) == 1 && read(written[0], &byte, 1) == 1, "pipe");
        lab_value("child", lab_sum(at, PAGES));
        _exit(0);
    }
    lab_reap(child);
    lab_reap(sharer);
    lab_value("parent", lab_sum(at, WRITTEN));
    return 0;
}

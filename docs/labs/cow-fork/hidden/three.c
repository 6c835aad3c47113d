// A child that forks: what it writes, neither its parent nor its child sees.
#include "../../lab.h"

enum { PAGES = 256, WRITTEN = 64 };

int main(int argc, char** argv) {
    const uint64_t seed = lab_seed(argc, argv);
    volatile uint64_t* at = lab_map(PAGES);
    lab_fill(at, PAGES, seed, 0);
    pid_t child = fork();
    lab_need(child >= 0, "fork");
    if (child == 0) {
        int written[2];
        lab_need(pipe(written) == 0, "pipe");
        pid_t grandchild = fork();
        lab_need(grandchild >= 0, "fork");
        char byte = 0;
        if (grandchild == 0) {
            lab_need(read(written[0], &byte, 1) == 1, "read");
            lab_value("grandchild", lab_sum(at, PAGES));
            lab_stage("all");
            _exit(0);
        }
        lab_fill(at, WRITTEN, seed, 1);
        lab_need(write(written[1], &byte, 1) == 1, "write");
        lab_reap(grandchild);
        _exit(0);
    }
    lab_reap(child);
    lab_value("parent", lab_sum(at, PAGES));
    return 0;
}

// What a fork and the writes after it do to the frames of memory.
#include "../../lab.h"

enum { PAGES = 512, WRITTEN = 100 };

int main(int argc, char** argv) {
    const uint64_t seed = lab_seed(argc, argv);
    lab_need(argc > 2, "share or write?");
    volatile uint64_t* at = lab_map(PAGES);
    lab_fill(at, PAGES, seed, 0);
    pid_t child = fork();
    lab_need(child >= 0, "fork");
    if (child == 0 && strcmp(argv[2], "share") == 0) {
        lab_value("child", lab_sum(at, PAGES));
        lab_stage("forked");
        _exit(0);
    }
    if (child == 0) {
        lab_fill(at, WRITTEN, seed, 1);
        lab_value("written", lab_sum(at, WRITTEN));
        lab_stage("child-wrote");
        _exit(0);
    }
    lab_reap(child);
    lab_value("parent", lab_sum(at, PAGES));
    return 0;
}

// What a child of vfork stores, it stores in its parent's memory: there is one page, not two.
#include "../../lab.h"

enum { PAGES = 128, WRITTEN = 64 };

int main(int argc, char** argv) {
    const uint64_t seed = lab_seed(argc, argv);
    volatile uint64_t* at = lab_map(PAGES);
    lab_fill(at, PAGES, seed, 0);
    pid_t child = vfork();
    lab_need(child >= 0, "vfork");
    if (child == 0) {
        lab_fill(at, WRITTEN, seed, 1);
        lab_stage("borrowed");
        _exit(0);
    }
    lab_value("parent", lab_sum(at, WRITTEN));
    lab_reap(child);
    return 0;
}

// The child is gone and has written nothing: the parent's writes copy nothing.
#include "../../lab.h"

enum { PAGES = 300 };

int main(int argc, char** argv) {
    const uint64_t seed = lab_seed(argc, argv);
    volatile uint64_t* at = lab_map(PAGES);
    lab_fill(at, PAGES, seed, 0);
    pid_t child = fork();
    lab_need(child >= 0, "fork");
    if (child == 0)
        _exit(0);
    lab_reap(child);
    lab_fill(at, PAGES, seed, 2);
    lab_stage("wrote");
    return 0;
}

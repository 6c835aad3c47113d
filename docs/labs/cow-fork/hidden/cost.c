// What more a fork costs whose parent has more memory: by the time stamp counter, which counts
// instructions.
#include "../../lab.h"

static uint64_t fork_with(int pages) {
    volatile uint64_t* at = lab_map(pages);
    lab_fill(at, pages, 1, 0);
    const uint64_t since = __builtin_ia32_rdtsc();
    pid_t child = fork();
    lab_need(child >= 0, "fork");
    if (child == 0)
        _exit(0);
    const uint64_t cycles = __builtin_ia32_rdtsc() - since;
    lab_reap(child);
    munmap((void*)at, (size_t)pages * LAB_PAGE);
    return cycles;
}

int main(void) {
    alarm(LAB_SECONDS);
    const uint64_t few = fork_with(64), many = fork_with(2048);
    lab_value("extra", many > few ? many - few : 0);
    return 0;
}

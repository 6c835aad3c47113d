// A vfork touches no page of its parent's, however many there are.
#include "../../lab.h"

static uint64_t vfork_with(int pages) {
    volatile uint64_t* at = lab_map(pages);
    lab_fill(at, pages, 1, 0);
    const uint64_t since = __builtin_ia32_rdtsc();
    pid_t child = vfork();
    lab_need(child >= 0, "vfork");
    if (child == 0)
        _exit(0);
    const uint64_t cycles = __builtin_ia32_rdtsc() - since;
    lab_reap(child);
    munmap((void*)at, (size_t)pages * LAB_PAGE);
    return cycles;
}

int main(void) {
    alarm(LAB_SECONDS);
    (void)vfork_with(1);
    const uint64_t few = vfork_with(1), many = vfork_with(4096);
    lab_value("extra", many > few ? many - few : 0);
    return 0;
}

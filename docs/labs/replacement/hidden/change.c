// Several processes in little memory, while the policy changes.
#include "../tests/few.h"

enum { PROCESSES = 7, PAGES = 600, ROUNDS = 6 };

int main(int argc, char** argv) {
    static const char* const policies[] = {"lru", "clock-pro", "random", "second-chance", "fifo"};
    const uint64_t seed = lab_seed(argc, argv);
    int ends[2];
    pid_t children[PROCESSES];
    lab_need(pipe(ends) == 0, "pipe");
    few(1000, "clock-pro");
    for (int n = 0; n < PROCESSES; n++) {
        children[n] = fork();
        lab_need(children[n] >= 0, "fork");
        if (children[n])
            continue;
        uint64_t sum = 0;
        volatile uint64_t* at = lab_map((n + 1) * PAGES); // of which the last are this process's
        volatile uint64_t* mine = at + (size_t)n * PAGES * (LAB_PAGE / 8);
        for (int page = n * PAGES; page < (n + 1) * PAGES; page++)
            for (int word = 0; word < LAB_WORDS; word++)
                at[(size_t)page * (LAB_PAGE / 8) + word] =
                    lab_word(seed, 0, (uint64_t)page, (uint64_t)word);
        for (int round = 0; round < ROUNDS; round++)
            sum = lab_sum(mine, PAGES);
        lab_need(write(ends[1], &sum, sizeof sum) == sizeof sum, "write");
        _exit(0);
    }
    close(ends[1]);
    for (int n = 0; n < 40; n++) {
        few_say("/proc/sys/vm/page_policy", policies[n % 5]);
        usleep(50000);
    }
    uint64_t all = 0, one;
    for (int n = 0; n < PROCESSES; n++) {
        lab_need(read(ends[0], &one, sizeof one) == sizeof one, "read");
        all += one;
    }
    for (int n = 0; n < PROCESSES; n++)
        lab_reap(children[n]);
    lab_value("all", all);
    return 0;
}

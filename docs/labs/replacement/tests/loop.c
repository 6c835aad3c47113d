// A loop over pages, which are stored into each time: of a loop that is larger than memory a policy can keep a part, or
// nothing.
#include "few.h"

// loop SEED POLICY FRAMES PAGES ROUNDS
int main(int argc, char** argv) {
    const uint64_t seed = lab_seed(argc, argv);
    lab_need(argc == 6, "loop SEED POLICY FRAMES PAGES ROUNDS");
    const int pages = atoi(argv[4]), rounds = atoi(argv[5]);
    volatile uint64_t* at = lab_map(pages);
    few(atoi(argv[3]), argv[2]);
    lab_fill(at, pages, seed, 0);
    uint64_t last = 0;
    const uint64_t looks = few_counter("pdscans");
    for (int round = 0; round < rounds; round++) {
        const uint64_t before = few_counter("pgswapin");
        for (int page = 0; page < pages; page++)
            at[few_mixed(page, pages) * (LAB_PAGE / 8) + LAB_WORDS] = (uint64_t)round;
        last = few_counter("pgswapin") - before;
    }
    lab_value("ins", last); // of the last round
    lab_value("looks", few_counter("pdscans") - looks);
    lab_value("loop", lab_sum(at, pages));
    return 0;
}

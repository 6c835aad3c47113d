// Pages that are used all the time, and a walk through many that are stored into once in a while: who guesses well
// keeps the former.
#include "few.h"

// hot SEED POLICY FRAMES HOT SCAN STEP ROUNDS: in each round HOT pages are looked at, and the next STEP of the SCAN
// others are stored into.
int main(int argc, char** argv) {
    const uint64_t seed = lab_seed(argc, argv);
    lab_need(argc == 8, "hot SEED POLICY FRAMES HOT SCAN STEP ROUNDS");
    const int hot = atoi(argv[4]), scan = atoi(argv[5]), step = atoi(argv[6]),
              rounds = atoi(argv[7]);
    volatile uint64_t* used = lab_map(hot);
    volatile uint64_t* once = lab_map(scan);
    few(atoi(argv[3]), argv[2]);
    lab_fill(used, hot, seed, 0);
    lab_fill(once, scan, seed, 1);
    uint64_t hot_ins = 0, scan_ins = 0;
    const uint64_t looks = few_counter("pdscans");
    for (int round = 0, next = 0; round < rounds; round++) {
        const uint64_t before = few_counter("pgswapin");
        for (int page = 0; page < hot; page++)
            (void)used[few_mixed(page, hot) * (LAB_PAGE / 8)];
        const uint64_t between = few_counter("pgswapin");
        for (int n = 0; n < step; n++, next = (next + 1) % scan)
            once[few_mixed(next, scan) * (LAB_PAGE / 8) + LAB_WORDS] = (uint64_t)round;
        if (round == 0)
            continue; // all of them came then
        hot_ins += between - before;
        scan_ins += few_counter("pgswapin") - between;
    }
    lab_value("hot_ins", hot_ins);
    lab_value("scan_ins", scan_ins);
    lab_value("looks", few_counter("pdscans") - looks);
    lab_value("hot", lab_sum(used, hot));
    lab_value("scan", lab_sum(once, scan));
    return 0;
}

// replacement STRING [FRAMES ...]: page-ins of a string of references under each of the kernel's policies,
// under LRU as it is defined and under Belady's optimum, as a table for tools/replacement. STRING is
// the name of a textbook's, or a file of page numbers, 32 bits each. Without FRAMES it says how many
// references and pages the string has.
#include "arch/host/host_machine.h"
#include "tests/replacement/simulate.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>

namespace {

// The pages numbered by when they come first.
reference_string string_of_file(const char* name) {
    std::ifstream file(name, std::ios::binary);
    std::map<uint32_t, uint32_t> numbers;
    reference_string string;
    for (uint32_t page; file.read(reinterpret_cast<char*>(&page), sizeof page);)
        string.push_back(numbers.try_emplace(page, uint32_t(numbers.size())).first->second);
    return string;
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 2)
        return 2;
    reference_string string = textbook_string(argv[1]);
    if (string.empty())
        string = string_of_file(argv[1]);
    if (string.empty()) {
        std::fprintf(stderr, "replacement: there is no string %s\n", argv[1]);
        return 1;
    }
    if (argc == 2) {
        std::printf("references,pages\n%zu,%u\n", string.size(), pages_of_string(string));
        return 0;
    }
    host_machine_init(4096);
    page_policy* const policies[] = {&fifo_policy(), &random_policy(), &second_chance_policy(),
                                     &lru_policy(), &clock_pro_policy()};
    std::printf("frames");
    for (const page_policy* policy : policies)
        std::printf(",%s", policy->name());
    std::printf(",true LRU,optimum\n");
    const std::vector<uint64_t> true_lru = page_ins_of_true_lru(string);
    for (int i = 2; i < argc; i++) {
        const auto frames = uint32_t(std::max(1, std::atoi(argv[i])));
        std::printf("%u", frames);
        for (page_policy* policy : policies)
            std::printf(",%llu",
                        static_cast<unsigned long long>(page_ins(*policy, string, frames)));
        const size_t at = std::min<size_t>(frames, true_lru.size() - 1);
        std::printf(",%llu,%llu\n", static_cast<unsigned long long>(true_lru[at]),
                    static_cast<unsigned long long>(page_ins_of_optimum(string, frames)));
    }
    return 0;
}

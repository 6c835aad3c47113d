// Which mutant it is, from the environment; and at the end of the process, for MUTANTS_REACHED=FILE, a byte for
// each mutant.
#include "tests/mutation/mutant.h"

#include <cstdio>
#include <cstdlib>

unsigned mutant_chosen;
unsigned char mutant_reached[mutants_at_most];

namespace {

void write_reached() {
    FILE* file = std::fopen(std::getenv("MUTANTS_REACHED"), "w");
    if (!file ||
        std::fwrite(mutant_reached, 1, sizeof mutant_reached, file) != sizeof mutant_reached)
        std::perror("MUTANTS_REACHED");
    if (file)
        std::fclose(file);
}

[[gnu::constructor]] void choose() {
    if (const char* number = std::getenv("MUTANT"))
        mutant_chosen = static_cast<unsigned>(std::strtoul(number, nullptr, 10));
    if (std::getenv("MUTANTS_REACHED"))
        std::atexit(write_reached);
}

} // namespace

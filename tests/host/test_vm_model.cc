// Random runs against the model. In the environment SPORK_SEED gives one seed in place of all,
// SPORK_RUNS their number, SPORK_OPERATIONS the length of a run.
#include "tests/host/vm_shrink.h"
#include "tests/host/vm_world.h"

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <unistd.h>

// With the sanitizers the model is an order of magnitude slower: the million is for the build
// without them (make's build/model/vm_model), which has all of vm/'s own checks.
#if defined(__SANITIZE_ADDRESS__) || defined(SPORK_COVERAGE)
static constexpr uint64_t default_runs = 20;
#else
static constexpr uint64_t default_runs = 502;
#endif
static constexpr size_t default_length = 2000;

static uint64_t from_environment(const char* name, uint64_t otherwise) {
    const char* text = getenv(name);
    return text ? strtoull(text, nullptr, 0) : otherwise;
}

// What a shrunk run's test asks: empty when all is well.
static std::string failure_of(const operation_list& operations) {
    return run_apart(operations, false).why;
}

TEST_CASE("model: random operations agree with a model of pages", "[model]") {
    bool one = getenv("SPORK_SEED") != nullptr;
    uint64_t first = from_environment("SPORK_SEED", 1);
    uint64_t runs = one ? 1 : from_environment("SPORK_RUNS", default_runs);
    size_t length = from_environment("SPORK_OPERATIONS", default_length);
    auto jobs = unsigned(std::clamp(sysconf(_SC_NPROCESSORS_ONLN), 1L, 8L));

    timespec start{}, end{};
    clock_gettime(CLOCK_MONOTONIC, &start);
    std::optional<failed_seed> failed = run_seeds(first, runs, length, jobs);
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("model: seeds %lu to %lu, %zu operations each: %lu operations in %ld s, %u at a time\n",
           first, first + runs - 1, length, runs * length, end.tv_sec - start.tv_sec, jobs);
    if (failed) {
        std::string seed = std::to_string(failed->seed);
        FAIL("seed " << seed << " (SPORK_SEED=" << seed << " repeats it): "
                     << explain_failure(make_operations(failed->seed, length), "seed " + seed));
    }
    SUCCEED();
}

// ---- Runs that have failed -------------------------------------------------------------------

TEST_CASE("model: taking away a right is free, also beyond a limit that was lowered", "[model]") {
    CHECK(failure_of({
              {model_op::map, 0, 39, 0, 0, 0},                 // process 0: mmap, pages 39 to 39
              {model_op::brk, 0, 30, 0, 0x575f, 0},            // process 0: brk
              {model_op::overcommit, 0, 24, 0, 0x1c4b2347, 0}, // the limit
              {model_op::protect, 0, 39, 0, 0, 0},             // process 0: mprotect, page 39
          }) == "");
}

TEST_CASE("model: a forced store to what may not be accessed maps no neighbours", "[model]") {
    CHECK(failure_of({
              {model_op::map, 0, 31, 6, 0x5d, 0},     // process 0: mmap, pages 31 to 37
              {model_op::protect, 0, 31, 2, 0x26, 0}, // process 0: mprotect, pages 31 to 33
              {model_op::fork, 0, 9, 0, 0, 0},        // process 0: fork
              {model_op::fork, 0, 11, 0, 0xc8, 0},    // process 0: fork
              {model_op::exit, 0, 31, 0, 0, 0},       // process 0: exit
              {model_op::fork, 0, 11, 0, 0, 0},       // process 0: fork
              {model_op::poke, 178, 31, 0, 0, 0},     // process 178: write_memory, page 31
          }) == "");
}

TEST_CASE("model: a second mapping of an object may not replace the first", "[model]") {
    CHECK(failure_of({
              {model_op::map, 0, 14, 5, 0xe8, 0},         // process 0: mmap, pages 14 to 19
              {model_op::remap, 0, 16, 0, 0x6bbe51fb, 0}, // process 0: mremap, page 16
          }) == "");
}

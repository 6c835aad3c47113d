// Runs of the model in processes of their own, so that a panic, a crash, a sanitizer's report or a
// hang is a verdict too; and the shrinking of a run that fails to the shortest that still does.
#pragma once

#include "tests/host/vm_model.h"

#include <optional>
#include <string>
#include <vector>

using operation_list = std::vector<model_operation>;

struct run_verdict {
    bool failed = false;
    size_t at = 0;   // the operation that was running
    std::string why; // one line
};

// Runs the operations in a child process. What the child prints to stderr is shown unless
// `quiet`. At its end nothing may be left allocated.
run_verdict run_apart(const operation_list& operations, bool quiet);

// As many runs, of the seeds from `first` on, in `jobs` processes at once. Gives the first seed
// whose run failed.
struct failed_seed {
    uint64_t seed;
    run_verdict verdict;
};
std::optional<failed_seed> run_seeds(uint64_t first, uint64_t count, size_t operations,
                                     unsigned jobs);

// Delta debugging (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", IEEE
// TSE 28(2), 2002): drops operations, in ever smaller pieces, as long as the run fails; then makes
// the numbers of those that are left small. Ends after `seconds` with what it has.
operation_list shrink(operation_list operations, unsigned seconds);

// The run as the text of a Catch2 test, ready for tests/host/test_vm_model.cc.
std::string as_test(const operation_list& operations, const std::string& title);

// Shrinks a failing run and says all of it: why it fails, how often it was run, the test.
std::string explain_failure(const operation_list& operations, const std::string& title);

// libFuzzer's bytes as operations: nine bytes each, a rest is ignored.
operation_list operations_of_bytes(const uint8_t* data, size_t size);

// Random runs against the model. SPORK_SEED and SPORK_OPERATIONS in the environment replace the
// defaults.
#include "tests/host/vm_model.h"
#include "tests/host/vm_world.h"

#include <cstdlib>

static uint64_t from_environment(const char* name, uint64_t otherwise) {
    const char* text = getenv(name);
    return text ? strtoull(text, nullptr, 0) : otherwise;
}

static void run(uint64_t seed, size_t operations) {
    vm_world world;
    uvm_check_at_seams = false; // run_operations() checks by itself
    INFO("repeat with SPORK_SEED=" << seed << " SPORK_OPERATIONS=" << operations);
    try {
        run_operations(make_operations(seed, operations));
    } catch (const model_mismatch& mismatch) {
        FAIL(mismatch.what());
    }
}

TEST_CASE("model: random operations agree with a model of pages", "[model]") {
    uint64_t first = from_environment("SPORK_SEED", 1);
    size_t operations = from_environment("SPORK_OPERATIONS", 60'000);
    for (uint64_t seed = first; seed < first + (getenv("SPORK_SEED") ? 1 : 5); seed++)
        run(seed, operations);
}

TEST_CASE("model: the same without fault-ahead and without the page of zeros", "[model]") {
    vm_world world;
    uvm_fault_ahead_enabled = false;
    uvm_zero_page_enabled = false;
    run_operations(make_operations(101, 20'000));
}

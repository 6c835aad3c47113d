// libFuzzer drives the model: its bytes are operations (operations_of_bytes()). What fails is
// shrunk, printed as a Catch2 test, and ends the run.
#include "arch/host/host_machine.h"
#include "tests/host/vm_shrink.h"

#include <cstdio>
#include <cstdlib>

static const operation_list* running;

[[noreturn]] static void explain(const char* why) {
    host_on_panic = nullptr;
    std::fprintf(stderr, "%s\n%s\n", why, explain_failure(*running, "found by fuzzing").c_str());
    std::abort();
}

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    host_machine_init(32768);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    operation_list operations = operations_of_bytes(data, size);
    running = &operations;
    host_on_panic = explain;
    try {
        run_operations(operations);
    } catch (const model_mismatch& mismatch) {
        explain(mismatch.what());
    }
    return 0;
}

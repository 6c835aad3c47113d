// libFuzzer drives the model: its bytes are operations (operations_of_bytes()). What fails is
// shrunk, printed as a Catch2 test, and ends the run.
#include "arch/host/host_machine.h"
#include "tests/host/vm_shrink.h"

#include <cstdio>
#include <cstdlib>

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    host_machine_init(32768);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    operation_list operations = operations_of_bytes(data, size);
    std::string why;
    try {
        why = host_panic_of([&] { run_operations(operations); });
    } catch (const model_mismatch& mismatch) {
        why = mismatch.what();
    }
    if (why.empty())
        return 0;
    std::fprintf(stderr, "%s\n", explain_failure(operations, "found by fuzzing").c_str());
    std::abort();
}

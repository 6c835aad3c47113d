// The host tests' main(): makes the simulated machine, then runs what Catch2's command line asks
// for.
#define CATCH_CONFIG_RUNNER
#include "tests/host/catch.h"

#include "arch/host/host_machine.h"

int main(int argc, char** argv) {
    host_machine_init(32768); // 128 MiB: small enough for a test to use up
    return Catch::Session().run(argc, argv);
}

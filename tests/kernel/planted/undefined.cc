// Undefined behaviour, planted: `make SANITIZE=undefined` must find it (tests/kernel/hang.h).
#include "tests/kernel/hang.h"

#include <climits>
#include <cstdint>
#include <cstring>

namespace {

volatile int most = INT_MAX, bits = 40;
volatile int sink;

} // namespace

void plant_bug(const char* name) {
    auto is = [&](const char* word) { return strcmp(name, word) == 0; };
    if (is("overflow"))
        sink = most + 1;
    if (is("shift"))
        sink = 1 << bits;
    if (is("not-aligned")) {
        alignas(8) static char room[16];
        char* at = room + bits - 39;
        sink = *reinterpret_cast<int*>(at);
    }
}

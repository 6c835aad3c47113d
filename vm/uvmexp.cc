#include "vm/uvmexp.h"

#include "arch/cpu.h"

#include <atomic>

namespace {

constexpr size_t counters = size_t(uvm_counter::count);

// Each CPU writes its own; atomics, so that a reader elsewhere sees whole values.
struct alignas(64) cpu_counters {
    std::atomic<uint64_t> value[counters];
};
constinit cpu_counters per_cpu[max_cpus];

constexpr const char* names[counters] = {
#define X(name, text) #name,
    UVMEXP_COUNTERS(X)
#undef X
};

} // namespace

void uvm_count(uvm_counter counter, uint64_t n) {
    auto& value = per_cpu[cpu::id()].value[size_t(counter)];
    value.store(value.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

uint64_t uvm_read(uvm_counter counter) {
    uint64_t sum = 0;
    for (const cpu_counters& c : per_cpu)
        sum += c.value[size_t(counter)].load(std::memory_order_relaxed);
    return sum;
}

const char* uvm_counter_name(uvm_counter counter) { return names[size_t(counter)]; }

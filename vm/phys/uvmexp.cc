#include "vm/phys/uvmexp.h"

static constexpr const char* names[] = {
#define X(name, text) #name,
    UVMEXP_COUNTERS(X)
#undef X
};

uint64_t uvm_read_on(unsigned cpu, uvm_counter counter) {
    return cpu::counted(cpu, unsigned(counter));
}

uint64_t uvm_read(uvm_counter counter) {
    uint64_t sum = 0;
    for (unsigned cpu = 0; cpu < max_cpus; cpu++)
        sum += uvm_read_on(cpu, counter);
    return sum;
}

const char* uvm_counter_name(uvm_counter counter) { return names[unsigned(counter)]; }

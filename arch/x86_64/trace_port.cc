// The trace port: `-device isa-debugcon,iobase=0xeb,readback=0xeb`.
#include "arch/machine.h"

#include <machine/instructions.h>

namespace {
constexpr uint16_t trace_port = 0xeb;
}

// Made to read as its own number.
bool machine_has_trace_port() { return in8(trace_port) == trace_port; }

void machine_write_trace_port(const void* data, size_t size) {
    asm volatile("rep outsb" : "+S"(data), "+c"(size) : "d"(trace_port) : "memory");
}

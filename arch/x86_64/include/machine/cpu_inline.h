// The functions of arch/cpu.h that every lock uses, inline. Included by arch/cpu.h alone. The
// fields of cpu_data are reached by their offsets, because <machine/percpu.h> itself includes
// arch/cpu.h.
#pragma once

#include "lib/assert.h"

#include <machine/asm.h>

#include <cstdint>

struct held_locks;
struct thread;

namespace cpu {

namespace detail {
inline char* this_cpu() {
    char* c;
    asm volatile("movq %%gs:%c1, %0" : "=r"(c) : "i"(CPU_SELF));
    return c;
}
template <class T> T& field(char* cpu_data, unsigned offset) {
    return *reinterpret_cast<T*>(cpu_data + offset);
}
} // namespace detail

inline unsigned id() {
    uint32_t id;
    asm volatile("movl %%gs:%c1, %0" : "=r"(id) : "i"(CPU_ID));
    return id;
}

inline thread* current() {
    thread* t;
    asm volatile("movq %%gs:%c1, %0" : "=r"(t) : "i"(CPU_CURRENT));
    return t;
}

inline bool in_interrupt() {
    uint16_t under_way;
    asm volatile("movw %%gs:%c1, %0" : "=r"(under_way) : "i"(CPU_INTERRUPTS_UNDER_WAY));
    return under_way != 0;
}

inline bool interrupts_enabled() {
    uint64_t flags;
    asm volatile("pushfq; popq %0" : "=r"(flags));
    return flags & RFLAGS_IF;
}

namespace detail {
inline uint32_t interrupts_off_depth() {
    uint32_t depth;
    asm volatile("movl %%gs:%c1, %0" : "=r"(depth) : "i"(CPU_INTERRUPTS_OFF_DEPTH) : "memory");
    return depth;
}
} // namespace detail

// Where somebody has pushed before, they are off. An interrupt between the question and the answer
// leaves the depth as it was.
inline void interrupts_push_off() {
    if (detail::interrupts_off_depth() == 0)
        asm volatile("pushfq\n\t"
                     "cli\n\t"
                     "btl %0, (%%rsp)\n\t"
                     "setc %%gs:%c1\n\t"
                     "leaq 8(%%rsp), %%rsp"
                     :
                     : "i"(RFLAGS_IF_BIT), "i"(CPU_INTERRUPTS_WERE_ON)
                     : "memory", "cc");
    asm volatile("incl %%gs:%c0" : : "i"(CPU_INTERRUPTS_OFF_DEPTH) : "memory", "cc");
}

inline void interrupts_pop_off() {
    bool last, were_on;
    CHECK_ASSERT(detail::interrupts_off_depth() > 0);
    asm volatile("decl %%gs:%c1" : "=@ccz"(last) : "i"(CPU_INTERRUPTS_OFF_DEPTH) : "memory");
    if (!last)
        return;
    asm volatile("cmpb $0, %%gs:%c1" : "=@ccnz"(were_on) : "i"(CPU_INTERRUPTS_WERE_ON) : "memory");
    if (were_on)
        asm volatile("sti" ::: "memory");
}

// With a constant, one instruction that no interrupt divides: it adds to the counter of the CPU
// that executes it.
inline void count(unsigned counter, uint64_t by) {
    asm volatile("addq %1, %%gs:%a0"
                 :
                 : "ri"(CPU_COUNTERS + sizeof(uint64_t) * counter), "er"(by)
                 : "cc");
}

// All in a row: a loop would cost as much again.
inline void add_counters(uint64_t* to, unsigned n) {
    const uint64_t* counters = &detail::field<uint64_t>(detail::this_cpu(), CPU_COUNTERS);
#pragma GCC unroll 64
    for (unsigned i = 0; i < n; i++)
        to[i] += counters[i];
}

inline void subtract_counters(uint64_t* from, unsigned n) {
    const uint64_t* counters = &detail::field<uint64_t>(detail::this_cpu(), CPU_COUNTERS);
#pragma GCC unroll 64
    for (unsigned i = 0; i < n; i++)
        from[i] -= counters[i];
}

} // namespace cpu

inline held_locks& cpu_held_locks() {
    return cpu::detail::field<held_locks>(cpu::detail::this_cpu(), CPU_SPIN_LOCKS);
}

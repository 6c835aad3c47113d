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

inline bool interrupts_enabled() {
    uint64_t flags;
    asm volatile("pushfq; popq %0" : "=r"(flags));
    return flags & RFLAGS_IF;
}

inline void interrupts_push_off() {
    const bool on = interrupts_enabled();
    asm volatile("cli" ::: "memory");
    char* c = detail::this_cpu();
    if (detail::field<uint32_t>(c, CPU_INTERRUPTS_OFF_DEPTH)++ == 0)
        detail::field<bool>(c, CPU_INTERRUPTS_WERE_ON) = on;
}

inline void interrupts_pop_off() {
    char* c = detail::this_cpu();
    auto& depth = detail::field<uint32_t>(c, CPU_INTERRUPTS_OFF_DEPTH);
    CHECK_ASSERT(depth > 0);
    if (--depth == 0 && detail::field<bool>(c, CPU_INTERRUPTS_WERE_ON))
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

} // namespace cpu

inline held_locks& cpu_held_locks() {
    return cpu::detail::field<held_locks>(cpu::detail::this_cpu(), CPU_SPIN_LOCKS);
}

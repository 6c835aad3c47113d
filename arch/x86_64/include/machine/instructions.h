// Instructions that C++ has no name for.
#pragma once

#include <cstddef>
#include <cstdint>

inline void out8(uint16_t port, uint8_t v) { asm volatile("outb %0, %1" ::"a"(v), "Nd"(port)); }
inline void out16(uint16_t port, uint16_t v) { asm volatile("outw %0, %1" ::"a"(v), "Nd"(port)); }
inline void out32(uint16_t port, uint32_t v) { asm volatile("outl %0, %1" ::"a"(v), "Nd"(port)); }
inline void out8_string(uint16_t port, const char* text, size_t length) {
    asm volatile("rep outsb" : "+S"(text), "+c"(length) : "d"(port) : "memory");
}
inline uint8_t in8(uint16_t port) {
    uint8_t v;
    asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
inline uint16_t in16(uint16_t port) {
    uint16_t v;
    asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
inline uint32_t in32(uint16_t port) {
    uint32_t v;
    asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

inline uint64_t read_msr(uint32_t msr) {
    uint32_t low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return uint64_t{high} << 32 | low;
}
inline void write_msr(uint32_t msr, uint64_t v) {
    asm volatile("wrmsr" ::"c"(msr), "a"(uint32_t(v)), "d"(uint32_t(v >> 32)) : "memory");
}

inline uint64_t read_cr0() {
    uint64_t v;
    asm volatile("movq %%cr0, %0" : "=r"(v));
    return v;
}
inline uint64_t read_cr2() {
    uint64_t v;
    asm volatile("movq %%cr2, %0" : "=r"(v));
    return v;
}
inline uint64_t read_cr3() {
    uint64_t v;
    asm volatile("movq %%cr3, %0" : "=r"(v));
    return v;
}
inline uint64_t read_cr4() {
    uint64_t v;
    asm volatile("movq %%cr4, %0" : "=r"(v));
    return v;
}
inline void write_cr0(uint64_t v) { asm volatile("movq %0, %%cr0" ::"r"(v) : "memory"); }
inline void write_cr3(uint64_t v) { asm volatile("movq %0, %%cr3" ::"r"(v) : "memory"); }
inline void write_cr4(uint64_t v) { asm volatile("movq %0, %%cr4" ::"r"(v) : "memory"); }

struct cpuid_result {
    uint32_t eax, ebx, ecx, edx;
};
inline cpuid_result cpuid(uint32_t leaf, uint32_t subleaf = 0) {
    cpuid_result r;
    asm volatile("cpuid"
                 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                 : "a"(leaf), "c"(subleaf));
    return r;
}

// What is executed after it is fetched after it (SDM vol. 3, 9.3).
inline void serialize() {
    uint32_t leaf = 0, subleaf = 0;
    asm volatile("cpuid" : "+a"(leaf), "+c"(subleaf) : : "ebx", "edx", "memory");
}

inline uint64_t read_tsc() {
    uint32_t low, high;
    asm volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
    return uint64_t{high} << 32 | low;
}
inline uint64_t read_flags() {
    uint64_t v;
    asm volatile("pushfq; popq %0" : "=r"(v)::"memory");
    return v;
}
inline void interrupts_on() { asm volatile("sti" ::: "memory"); }
inline void interrupts_off() { asm volatile("cli" ::: "memory"); }
inline void pause_instruction() { asm volatile("pause" ::: "memory"); }
[[noreturn]] inline void halt_forever() {
    for (;;)
        asm volatile("cli; hlt" ::: "memory");
}

// What may be done with memory. The values are Linux's PROT_*.
#pragma once

#include <cstdint>

enum class vm_prot : uint8_t {
    none = 0,
    read = 1,
    write = 2,
    execute = 4,
    rw = 3,
    rx = 5,
    all = 7
};

constexpr vm_prot operator|(vm_prot a, vm_prot b) { return vm_prot(uint8_t(a) | uint8_t(b)); }
constexpr vm_prot operator&(vm_prot a, vm_prot b) { return vm_prot(uint8_t(a) & uint8_t(b)); }
constexpr vm_prot operator~(vm_prot a) { return vm_prot(~uint8_t(a) & 7); }
// Whether every right in `wanted` is in `have`.
constexpr bool allows(vm_prot have, vm_prot wanted) { return (have & wanted) == wanted; }

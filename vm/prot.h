// Protection, inheritance and advice of mappings. Values are Linux's PROT_* and MADV_* where
// it has them.
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

// What a child of fork gets for a mapping (minherit(2)).
enum class vm_inherit : uint8_t { share, copy, none, zero };

// How a mapping will be used (madvise(2)); sets the width of fault-ahead.
enum class vm_advice : uint8_t { normal, random, sequential };

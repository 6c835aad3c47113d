// Inheritance and advice of mappings. Values are Linux's MADV_* where it has them.
#pragma once

#include "arch/prot.h"

#include <cstdint>

// What a child of fork gets for a mapping (minherit(2)).
enum class vm_inherit : uint8_t { share, copy, none, zero };

// How a mapping will be used (madvise(2)); sets the width of fault-ahead.
enum class vm_advice : uint8_t { normal, random, sequential };

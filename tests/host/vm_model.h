// The VM system held against a model of it that is nothing but page attributes and one byte of
// contents for each page: several processes and objects, random operations.
//
// A run is a list of operations that are plain data, made from a seed. What an operation does is
// fixed by its numbers and by the state it meets, so that any part of a list is a run too.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

struct model_operation {
    uint32_t kind;
    uint32_t process, page, count, value, fail_at; // fail_at: 0, or which allocation fails
};

// What differed, and at which operation.
struct model_mismatch : std::runtime_error {
    using std::runtime_error::runtime_error;
};

std::vector<model_operation> make_operations(uint64_t seed, size_t count);
// Throws model_mismatch.
void run_operations(const std::vector<model_operation>& operations);

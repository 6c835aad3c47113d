// What `make SANITIZE=undefined` has the compiler call where the program has no meaning: a panic that
// says where and why. GCC's names and data, as in its libsanitizer/ubsan/ubsan_handlers.h: each begins
// with the place in the source.
#include "lib/assert.h"

#include <cstdint>

namespace {

struct source_location {
    const char* file;
    uint32_t line, column;
};

[[noreturn]] void undefined(const source_location* at, const char* what) {
    panic("undefined behaviour at %s:%u:%u: %s", at->file, at->line, at->column, what);
}

[[noreturn]] void undefined(const source_location* at, const char* what, uint64_t value) {
    panic("undefined behaviour at %s:%u:%u: %s: %#lx", at->file, at->line, at->column, what, value);
}

[[noreturn]] void undefined(const source_location* at, const char* what, uint64_t a, uint64_t b) {
    panic("undefined behaviour at %s:%u:%u: %s: %#lx, %#lx", at->file, at->line, at->column, what,
          a, b);
}

struct type_mismatch {
    source_location at;
    const void* type;
    uint8_t log2_alignment;
    uint8_t access;
};

} // namespace

#define OF_NONE(name, what)                                                                        \
    void __ubsan_handle_##name(const source_location* at) { undefined(at, what); }
#define OF_ONE(name, what)                                                                         \
    void __ubsan_handle_##name(const source_location* at, uint64_t v) { undefined(at, what, v); }
#define OF_TWO(name, what)                                                                         \
    void __ubsan_handle_##name(const source_location* at, uint64_t a, uint64_t b) {                \
        undefined(at, what, a, b);                                                                 \
    }

extern "C" {

OF_TWO(add_overflow, "signed addition overflows")
OF_TWO(sub_overflow, "signed subtraction overflows")
OF_TWO(mul_overflow, "signed multiplication overflows")
OF_ONE(negate_overflow, "negation overflows")
OF_TWO(divrem_overflow, "division overflows or is by zero")
OF_TWO(shift_out_of_bounds, "shift of a value by a number of bits")
OF_ONE(out_of_bounds, "index out of bounds")
OF_TWO(pointer_overflow, "pointer arithmetic leaves the address space")
OF_ONE(load_invalid_value, "a bool or an enum of no such value")
OF_ONE(vla_bound_not_positive, "array of no positive size")
OF_ONE(float_cast_overflow, "conversion of a floating-point number")
OF_NONE(builtin_unreachable, "a place that is never reached")
OF_NONE(missing_return, "the end of a function that returns a value")
OF_NONE(nonnull_arg, "a null pointer as an argument that is never null")
OF_NONE(invalid_builtin, "zero as the argument of a bit count")

void __ubsan_handle_nonnull_return_v1(const void*, const source_location* at) {
    undefined(at, "a null pointer returned where there is never one");
}

void __ubsan_handle_type_mismatch_v1(const type_mismatch* data, uint64_t address) {
    if (!address)
        undefined(&data->at, "access by a null pointer");
    if (address & ((uint64_t{1} << data->log2_alignment) - 1))
        undefined(&data->at, "access by a pointer that is not aligned", address);
    undefined(&data->at, "access of an object that is too small", address);
}

} // extern "C"

// What the compiler and the freestanding parts of libstdc++ expect somebody to provide. None of
// it is reached by a correct kernel: each is a panic that says what went wrong.
#if __STDC_HOSTED__ == 0

#include "lib/assert.h"

#include <bits/functexcept.h>
#include <cstddef>
#include <new>

extern "C" {

[[noreturn]] void abort() { panic("abort() called (a value taken from an empty optional?)"); }

// Called by the function that finds it on its way out, and from which the backtrace goes on.
[[noreturn]] void __stack_chk_fail() {
    panic("stack protector: a function has written beyond a variable on its stack");
}

[[noreturn]] void __cxa_pure_virtual() { panic("pure virtual function called"); }

// Global objects are never destroyed: the kernel does not exit.
int __cxa_atexit(void (*)(void*), void*, void*) { return 0; }
void* __dso_handle = nullptr;

} // extern "C"

namespace std {

void __glibcxx_assert_fail(const char* file, int line, const char* function,
                           const char* condition) noexcept {
    panic("%s:%d: libstdc++ assertion in %s: %s", file, line, function, condition);
}

void terminate() noexcept { panic("std::terminate() called"); }

// From version 13 on libstdc++ has these in its headers, and they call terminate().
#if _GLIBCXX_RELEASE < 13
void __throw_bad_exception() { panic("std::bad_exception"); }
void __throw_bad_alloc() { panic("std::bad_alloc"); }
void __throw_bad_array_new_length() { panic("std::bad_array_new_length"); }
void __throw_bad_function_call() { panic("std::bad_function_call"); }
void __throw_logic_error(const char* what) { panic("std::logic_error: %s", what); }
void __throw_domain_error(const char* what) { panic("std::domain_error: %s", what); }
void __throw_invalid_argument(const char* what) { panic("std::invalid_argument: %s", what); }
void __throw_length_error(const char* what) { panic("std::length_error: %s", what); }
void __throw_out_of_range(const char* what) { panic("std::out_of_range: %s", what); }
void __throw_out_of_range_fmt(const char* what, ...) { panic("std::out_of_range: %s", what); }
void __throw_runtime_error(const char* what) { panic("std::runtime_error: %s", what); }
void __throw_range_error(const char* what) { panic("std::range_error: %s", what); }
void __throw_overflow_error(const char* what) { panic("std::overflow_error: %s", what); }
#endif

} // namespace std

// Virtual destructors refer to these; objects come from pools and go back to them.
void operator delete(void*) noexcept { panic("operator delete called"); }
void operator delete(void*, std::size_t) noexcept { panic("operator delete called"); }
void operator delete(void*, std::align_val_t) noexcept { panic("operator delete called"); }
void operator delete(void*, std::size_t, std::align_val_t) noexcept {
    panic("operator delete called");
}

#endif // __STDC_HOSTED__ == 0

// A path that a system call was given.
#pragma once

#include "kernel/abi/arguments.h"

// Where a path argument is copied to: freed at the end of the call.
class path_buffer {
public:
    // ENAMETOOLONG over 4095 characters, EFAULT, ENOMEM.
    static expected<path_buffer> copy(sys_path from);
    path_buffer(path_buffer&& other) noexcept;
    ~path_buffer();
    const char* c_str() const { return text_; }
    size_t length() const { return length_; }

private:
    path_buffer() = default;
    char* text_ = nullptr;
    size_t length_ = 0;
};

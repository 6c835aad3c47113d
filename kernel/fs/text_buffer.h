// text_buffer: text that grows as it is written, for generated files. Never fails on the way: what
// did not find memory is missing, and complete() tells.
#pragma once

#include <cstddef>
#include <string_view>

class text_buffer {
public:
    text_buffer() = default;
    text_buffer(const text_buffer&) = delete;
    text_buffer& operator=(const text_buffer&) = delete;
    ~text_buffer();

    void append(std::string_view text);
    void append(char c) { append({&c, 1}); }
    void print(const char* format, ...) __attribute__((format(printf, 2, 3)));
    // Appends with white space and backslashes as \ooo, as /proc/mounts and maps have it.
    void append_escaped(std::string_view text);
    void clear();
    std::string_view text() const { return {data_, size_}; }
    bool complete() const { return complete_; }

private:
    char* data_ = nullptr; // kmem
    size_t size_ = 0, capacity_ = 0;
    bool complete_ = true;
};

// text_buffer: text that grows as it is written, for generated files. Never fails on the way: what
// did not find memory is missing, and complete() tells.
#pragma once

#include "lib/text_sink.h"

#include <cstddef>

class text_buffer final : public text_sink {
public:
    text_buffer() = default;
    text_buffer(const text_buffer&) = delete;
    text_buffer& operator=(const text_buffer&) = delete;
    ~text_buffer();

    using text_sink::append;
    void append(std::string_view text) override;
    void clear();
    std::string_view text() const { return {data_, size_}; }
    bool complete() const { return complete_; }
    size_t capacity() const { return capacity_; }

private:
    char* data_ = nullptr; // kmem
    size_t size_ = 0, capacity_ = 0;
    bool complete_ = true;
};

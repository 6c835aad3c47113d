#include "kernel/fs/text_buffer.h"

#include "lib/format.h"
#include "lib/string.h"
#include "lib/types.h"
#include "vm/pool.h"

#include <algorithm>
#include <cstdarg>

text_buffer::~text_buffer() { clear(); }

void text_buffer::clear() {
    if (data_)
        kmem_free(data_, capacity_);
    data_ = nullptr;
    size_ = capacity_ = 0;
    complete_ = true;
}

void text_buffer::append(std::string_view text) {
    if (size_ + text.size() > capacity_) {
        size_t capacity = std::max<size_t>({512, capacity_ * 2, size_ + text.size()});
        auto* fresh = static_cast<char*>(kmem_alloc(capacity));
        if (!fresh) {
            complete_ = false;
            return;
        }
        if (data_) {
            memcpy(fresh, data_, size_);
            kmem_free(data_, capacity_);
        }
        data_ = fresh;
        capacity_ = capacity;
    }
    memcpy(data_ + size_, text.data(), text.size());
    size_ += text.size();
}

void text_buffer::print(const char* format, ...) {
    va_list args;
    va_start(args, format);
    vformat([](const char* text, size_t n,
               void* self) { static_cast<text_buffer*>(self)->append({text, n}); },
            this, format, args);
    va_end(args);
}

void text_buffer::append_escaped(std::string_view text) {
    for (char c : text) {
        if (c == ' ' || c == '\t' || c == '\n' || c == '\\')
            print("\\%03o", unsigned(uint8_t(c)));
        else
            append(c);
    }
}

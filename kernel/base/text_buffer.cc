#include "kernel/base/text_buffer.h"

#include "lib/string.h"
#include "lib/types.h"
#include "vm/phys/pool.h"

#include <algorithm>

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

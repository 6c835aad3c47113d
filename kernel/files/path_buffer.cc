#include "kernel/files/path_buffer.h"

#include "kernel/files/lookup.h"
#include "vm/phys/pool.h"

#include <utility>

expected<path_buffer> path_buffer::copy(sys_path from) {
    path_buffer p;
    p.text_ = static_cast<char*>(kmem_alloc(path_max));
    if (!p.text_)
        return fail(Errno::nomem);
    p.length_ = TRY(copy_in_string(p.text_, from.address, path_max));
    return p;
}

path_buffer::path_buffer(path_buffer&& other) noexcept
    : text_(std::exchange(other.text_, nullptr)), length_(other.length_) {}

path_buffer::~path_buffer() {
    if (text_)
        kmem_free(text_, path_max);
}

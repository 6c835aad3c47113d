#include "kernel/files/file.h"

#include "kernel/files/vnode.h"
#include "vm/uvm_object.h"

file::file(vnode& node, uint32_t flags) : flags_(flags), node_(&node) {}

expected<ref_ptr<uvm_object>> file::mmap_object() { return fail(Errno::nodev); }

uint64_t file::held() { return node_->held(); }

void file::last_reference_gone() {
    if (watches.load(std::memory_order_acquire) != 0)
        epoll_file_ends(*this);
    closed();
}

file::~file() { file_locks_closed(*node_, this); }

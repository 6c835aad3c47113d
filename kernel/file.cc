#include "kernel/file.h"

#include "kernel/fs/file_lock.h"
#include "kernel/vnode.h"

file::file(uint32_t flags) : flags_(flags) {}

file::~file() {
    if (node_)
        file_locks_closed(*node_, this);
}

void file::set_node(ref_ptr<vnode> node) { node_ = std::move(node); }

#include "kernel/file.h"

#include "kernel/fs/file_lock.h"
#include "kernel/vnode.h"

file::file(vnode& node, uint32_t flags) : flags_(flags), node_(&node) {}

file::~file() { file_locks_closed(*node_, this); }

#include "kernel/files/file.h"

#include "kernel/files/file_lock.h"
#include "kernel/files/vnode.h"

file::file(vnode& node, uint32_t flags) : flags_(flags), node_(&node) {}

file::~file() { file_locks_closed(*node_, this); }

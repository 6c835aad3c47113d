#include "kernel/files/fs_context.h"

#include "kernel/files/mount.h"
#include "vm/phys/pool.h"

static constinit pool<fs_context> fs_contexts{"fs_context"};

expected<ref_ptr<fs_context>> fs_context::create() {
    auto context = ref_ptr<fs_context>::adopt(fs_contexts.create());
    if (!context)
        return fail(Errno::nomem);
    context->set_current_directory(root_directory());
    return context;
}

expected<ref_ptr<fs_context>> fs_context::copy() {
    auto context = ref_ptr<fs_context>::adopt(fs_contexts.create());
    if (!context)
        return fail(Errno::nomem);
    context->set_current_directory(current_directory());
    context->umask_.store(umask());
    return context;
}

fs_context::fs_context() = default;
fs_context::~fs_context() = default;

void fs_context::last_reference_gone() { fs_contexts.destroy(this); }

ref_ptr<vnode> fs_context::current_directory() {
    lock_guard guard(lock_);
    return cwd_;
}

void fs_context::set_current_directory(ref_ptr<vnode> directory) {
    lock_guard guard(lock_);
    std::swap(cwd_, directory);
    guard.unlock(); // the old one may end here
    directory.reset();
    guard.lock();
}
